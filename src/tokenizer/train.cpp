// Training a tokenizer: a sample of the text in blocks that keep their newlines, fed to SentencePiece's BPE trainer.
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "tokenizer/text_files.h"
#include "tokenizer/text_stream.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

constexpr std::size_t kBlockBytes = 4096;        // a block ends at the first newline behind so many bytes
constexpr std::size_t kMaxTrainingLine = 16384;  // a longer line is cut

// <unk>, <s>, </s>, four runs of tabs, the bytes, the space and a character of the text.
constexpr std::int64_t kFewestPieces = 3 + 4 + 256 + 2;

// The end of the block that begins at `begin`.
std::size_t block_end(std::string_view text, std::size_t begin) {
  if (text.size() - begin <= kBlockBytes) return text.size();
  const std::size_t newline = text.substr(begin + kBlockBytes, kMaxTrainingLine).find('\n');
  if (newline != std::string_view::npos) return begin + kBlockBytes + newline + 1;
  std::size_t end = std::min(text.size(), begin + kMaxTrainingLine);
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80 && end > begin + kBlockBytes)
    --end;
  return end;
}

// The blocks that training sees, none of them of two documents. The trainer takes newlines inside its "sentences" as
// ordinary characters; sentences that hold its own marks U+2581 and U+2585 would be misread or skipped, so these two
// become spaces.
class BlockIterator : public sentencepiece::SentenceIterator {
 public:
  BlockIterator(const std::vector<TextFile>& files, const DocumentFormat& format, double fraction, bool with_space)
      : files_(files), format_(format), fraction_(fraction), with_space_(with_space) {
    advance();
  }

  bool done() const override { return done_; }
  void Next() override { advance(); }
  const std::string& value() const override { return block_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  // Appends the next part of the open document, or the first of the next one; false where the text ends.
  bool read_part() {
    DocumentPart part;
    while (!reader_ || !reader_->next(part)) {
      if (next_file_ == files_.size()) return false;
      const TextFile& file = files_[next_file_++];
      format_.kind = file.kind;
      reader_ = std::make_unique<DocumentReader>(file.path, format_);
    }
    text_.erase(0, at_);
    at_ = 0;
    text_ += part.text;
    ended_ = part.last;
    return true;
  }

  void advance() {
    while (true) {
      if (at_ == text_.size() || (!ended_ && text_.size() - at_ < kBlockBytes + kMaxTrainingLine)) {
        if (read_part()) continue;
        done_ = !with_space_;
        with_space_ = false;
        block_ = " ";
        return;
      }
      const std::size_t begin = at_;
      at_ = block_end(text_, begin);
      const std::string_view block = std::string_view(text_).substr(begin, at_ - begin);
      credit_ += fraction_ * static_cast<double>(block.size());
      if (credit_ < static_cast<double>(block.size())) continue;
      credit_ -= static_cast<double>(block.size());
      block_ = block;
      for (const char* mark : {"\xe2\x96\x81", "\xe2\x96\x85"}) {
        for (std::size_t i = block_.find(mark); i != std::string::npos; i = block_.find(mark, i))
          block_.replace(i, 3, " ");
      }
      return;
    }
  }

  const std::vector<TextFile>& files_;
  DocumentFormat format_;
  double fraction_;      // of the text to take; credit_ carries what is owed, so that the blocks lie evenly
  bool with_space_;      // a block that holds a space comes last
  double credit_ = 0.5;  // against rounding when everything is taken
  std::size_t next_file_ = 0;
  std::unique_ptr<DocumentReader> reader_;
  std::string text_;  // of the open document: behind at_, what no block has held yet
  std::size_t at_ = 0;
  bool ended_ = true;  // the document's last part is in text_
  std::string block_;
  bool done_ = false;
};

// The last whole number in `text` behind `words`, or 0.
std::int64_t number_behind(const std::string& text, const std::string& words) {
  std::size_t at = text.find(words);
  if (at == std::string::npos) return 0;
  at += words.size();
  std::int64_t value = 0;
  for (; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])); ++at)
    value = value * 10 + (text[at] - '0');
  return value;
}

constexpr const char* kTooLarge = "set it to a value <= ";  // in SentencePiece's words
constexpr const char* kSpacePiece = "\xe2\x96\x81";

bool has_space_piece(const std::string& model) {
  const Tokenizer tokenizer = Tokenizer::from_bytes(model, "the model");
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    if (tokenizer.piece(id) == kSpacePiece) return true;
  return false;
}

// SentencePiece's reasons, as sentences with a remedy.
[[noreturn]] void explain(const std::string& reason, std::int64_t vocab_size) {
  if (const std::int64_t most = number_behind(reason, kTooLarge); most > 0) {
    user_error("a vocabulary of ", vocab_size, " pieces is too large for this text, which yields ", most,
               "; give --vocab-size ", most, " or less, or more text");
  }
  if (const std::int64_t least = number_behind(reason, " vs ");
      least > 0 && reason.find("required_chars") != std::string::npos) {
    user_error("a vocabulary of ", vocab_size, " pieces is too small: this text's characters and the 256 bytes take ",
               least, "; give --vocab-size ", least + 1, " or more");
  }
  fail("SentencePiece cannot train on this text: ", reason);
}

}  // namespace

void train_tokenizer(const TokenizerTraining& options) {
  if (options.vocab_size < kFewestPieces || options.vocab_size > 1'000'000) {
    user_error("a vocabulary of ", options.vocab_size, " pieces is not possible; --vocab-size takes ", kFewestPieces,
               " to 1000000");
  }
  if (options.max_bytes <= 0) user_error("--max-bytes must be positive, not ", options.max_bytes);
  check_separator(options.format.separator);
  const fs::path own = fs::weakly_canonical(fs::absolute(options.output));
  const std::vector<TextFile> files = list_text_files(
      {.inputs = options.inputs,
       .extensions = options.extensions,
       .format = options.format,
       .is_output = [&](const fs::path& path) { return path == own || path == own.string() + ".tmp"; }});
  std::uint64_t total = 0;
  for (const TextFile& file : files) total += text_size(file.path);
  if (total == 0) {
    user_error("the text is empty: '", files[0].path.string(), "'",
               files.size() > 1 ? " and the other input files hold" : " holds", " no byte; give files with text");
  }
  make_writable_directory(options.output.has_parent_path() ? options.output.parent_path() : fs::path("."));
  if (fs::is_directory(options.output))
    user_error("'", options.output.string(), "' is a folder; give a file name for the model");

  const double fraction = std::min(1.0, static_cast<double>(options.max_bytes) / static_cast<double>(total));
  BlockIterator blocks(files, options.format, fraction, /*with_space=*/false);
  if (blocks.done())
    user_error("the text is empty: '", files[0].path.string(), "' holds no text; give files with text");
  std::unordered_map<std::string, std::string> settings = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(options.vocab_size)},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"allow_whitespace_only_pieces", "true"},
      {"byte_fallback", "true"},
      {"split_digits", "true"},
      {"character_coverage", "0.9999"},
      {"max_sentence_length", "1000000"},
      {"user_defined_symbols",
       "\t,\t\t,\t\t\t,\t\t\t\t"},  // the trainer takes a tab for a boundary and would learn none
      {"num_threads", "2"},         // a fixed number: the model records it, and BPE training uses one thread
      {"minloglevel", "3"},
  };
  std::string model;
  auto status = sentencepiece::SentencePieceTrainer::Train(settings, &blocks, &model);
  // A text without a space gives no piece for one, without which not every text has an encoding: it is asked for then
  // (always would change the models of other texts, in which the setting is kept).
  if (status.ok() ? !has_space_piece(model) : number_behind(status.ToString(), kTooLarge) > 0) {
    settings["required_chars"] = kSpacePiece;
    BlockIterator again(files, options.format, fraction, /*with_space=*/true);
    status = sentencepiece::SentencePieceTrainer::Train(settings, &again, &model);
  }
  if (!status.ok()) explain(status.ToString(), options.vocab_size);
  write_file_atomically(options.output, model);
}

}  // namespace ttt
