// Text to data sets: one thread reads, checks and writes; workers tokenise. Documents are cut into pieces, pieces make
// batches; what is written is in the order of the input, and only so many bytes of text are under way at once.
#include <algorithm>
#include <cstdio>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/timer.h"
#include "data/encode_queue.h"
#include "data/prepare.h"
#include "data/prepare_folder.h"
#include "data/prepare_sets.h"
#include "tokenizer/text_files.h"
#include "tokenizer/text_stream.h"

namespace ttt {
namespace {

constexpr std::size_t kPieceBytes = 1 << 20;       // of a large document
constexpr std::size_t kUncutPieceBytes = 1 << 18;  // with a tokenizer that must see a piece whole, 160 bytes a byte
constexpr std::size_t kBatchBytes = 1 << 18;       // of small documents that a worker takes at once
constexpr std::int64_t kThreadMemory = 64 << 20;   // of each thread, at most: its text and tokens, and the encoder's
constexpr double kDocumentsToHash = 4;             // expected validation documents from which whole documents are drawn

std::size_t num_threads(const PrepareText& options) {
  if (options.threads > 0) return static_cast<std::size_t>(options.threads);
  const std::int64_t for_memory = std::max<std::int64_t>(usable_memory_bytes() / kThreadMemory, 1);
  return static_cast<std::size_t>(std::min<std::int64_t>(usable_cores(), for_memory));
}

// A path may hold any bytes; what is not UTF-8 is replaced, as it would be in JSON.
std::string printable(const std::string& path) {
  return Json::parse(Json(path).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

// The number of bytes of `text` before a cut near `at`: behind the next line end, else before a character.
std::size_t cut_near(std::string_view text, std::size_t at) {
  const std::size_t newline = text.find('\n', at == 0 ? 0 : at - 1);
  if (newline != std::string_view::npos && newline + 1 < text.size()) return newline + 1;
  while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

// Where the last `fraction` of a file's text begins.
std::uint64_t tail_begin(const fs::path& path, double fraction) {
  const auto target = static_cast<std::uint64_t>(static_cast<double>(text_size(path)) * (1.0 - fraction));
  const std::uint64_t before = std::min<std::uint64_t>(target, 4);  // room for a character that the target cuts
  TextStream stream(path);
  stream.skip(target - before);
  std::string window(kPieceBytes, '\0');
  std::size_t size = 0;
  while (size < window.size()) {
    const std::size_t count = stream.read(window.data() + size, window.size() - size);
    if (count == 0) break;
    size += count;
  }
  return target - before + cut_near(std::string_view(window).substr(0, size), static_cast<std::size_t>(before));
}

// A piece of a document that holds so much text that more of it cannot change the piece, or nothing.
std::size_t piece_end(const Tokenizer& tokenizer, std::string_view text) {
  if (tokenizer.cuts_text()) {
    const std::size_t cut = tokenizer.first_cut(text.substr(0, 2 * kPieceBytes), kPieceBytes);
    return cut == std::string_view::npos ? 0 : cut;
  }
  if (text.size() <= kUncutPieceBytes) return 0;
  const std::size_t newline = text.substr(0, kUncutPieceBytes).rfind('\n');
  if (newline != std::string_view::npos && newline >= kUncutPieceBytes / 2) return newline + 1;
  return cut_near(text.substr(0, kUncutPieceBytes + 1), kUncutPieceBytes);
}

// One line on stderr: how far, how fast, how long still.
class Progress {
 public:
  Progress(std::uint64_t total, std::uint64_t done) : total_(total), first_(done) {}
  ~Progress() {
    if (shown_) show_progress("");
  }

  // `input`: bytes of the input files so far; `text`: bytes of text tokenised since the beginning.
  void show(std::uint64_t input, std::uint64_t text) {
    if (since_shown_.seconds() < (stderr_is_terminal() ? 0.2 : 10.0)) return;
    since_shown_.restart();
    shown_ = true;
    const double seconds = timer_.seconds(), rate = static_cast<double>(input - first_) / seconds;
    const auto left = rate > 0 ? static_cast<long>(static_cast<double>(total_ - std::min(input, total_)) / rate) : 0;
    char line[160];
    std::snprintf(line, sizeof line, "tokenizing %.1f of %.1f MB of input, %.1f MB/s of text, %ld:%02ld:%02ld left",
                  static_cast<double>(input) / 1e6, static_cast<double>(total_) / 1e6,
                  static_cast<double>(text) / 1e6 / seconds, left / 3600, left / 60 % 60, left % 60);
    show_progress(line);
  }

 private:
  std::uint64_t total_, first_;
  Timer timer_, since_shown_;
  bool shown_ = false;
};

class TextPreparation {
 public:
  TextPreparation(const PrepareText& options, const Tokenizer& tokenizer, const std::vector<TextFile>& files,
                  PrepareFolder& folder)
      : options_(options),
        tokenizer_(tokenizer),
        files_(files),
        folder_(folder),
        journal_(folder.read_journal()),
        counts_(journal_.counts),
        sets_(options, tokenizer, folder),
        progress_(begin_files(), journal_.input_bytes),
        queue_(tokenizer, num_threads(options)) {
    window_bytes_ = (num_threads(options) + 1) * 4 * kPieceBytes;
    const bool whole_files =
        options.format.separator.empty() &&
        std::all_of(files.begin(), files.end(), [](const TextFile& file) { return file.kind == DocumentKind::kPlain; });
    cuts_documents_ = options.valid_fraction > 0 && whole_files &&
                      static_cast<double>(files.size()) * options.valid_fraction < kDocumentsToHash;
  }

  DocumentCounts run() {
    if (!journal_.placing) {
      sets_.restore(journal_.sets);
      for (std::size_t file = journal_.position.file; file < files_.size(); ++file) read_file(file);
      push_batch();
      while (!queue_.empty()) write_oldest();
      if (text_bytes_ + journal_.input_bytes == 0) {
        user_error("the text is empty: '", files_[0].path.string(), "'",
                   files_.size() > 1 ? " and the other input files hold" : " holds", " no text; give files with text");
      }
      journal_.counts = counts_;
      save();
      sets_.finish();
      journal_.placing = true;
      folder_.write_journal(journal_);
    }
    sets_.place(journal_.sets);
    folder_.remove();
    return journal_.counts;
  }

 private:
  // The sum of the files' sizes; where each begins in that sum, and its printable name.
  std::uint64_t begin_files() {
    std::uint64_t total = 0;
    for (const TextFile& file : files_) {
      file_begin_.push_back(total);
      total += file.size;
      names_.push_back(printable(file.path.string()));
    }
    return total;
  }

  void read_file(std::size_t file) {
    const bool resumed = file == journal_.position.file;
    document_ = {};
    document_.at.file = file;
    const fs::path& path = files_[file].path;
    const std::uint64_t cut = cuts_documents_ ? tail_begin(path, options_.valid_fraction) : 0;
    DocumentFormat format = options_.format;
    format.kind = files_[file].kind;
    DocumentReader reader(path, format, resumed ? journal_.position.place : DocumentPlace{});
    const DocumentCounts before = counts_;
    bool empty = true;
    DocumentPart part;
    while (reader.next(part)) {
      empty = false;
      counts_ = sum(before, reader.counts());
      if (part.first) begin_document(part, resumed ? journal_.position : InputPosition{});
      input_bytes_ = file_begin_[file] + reader.file_position();
      const std::uint64_t at = document_.at.place.offset + document_.bytes;
      if (cuts_documents_ && !document_.valid && at + part.text.size() > cut) {
        const auto head = static_cast<std::size_t>(std::max(cut, at) - at);
        add_text(part.text.substr(0, head));
        end_document();
        document_.valid = true;
        document_.first = true;
        part.text.remove_prefix(head);
      }
      add_text(part.text);
      if (part.last) end_document();
    }
    counts_ = sum(before, reader.counts());
    if (empty && reader.counts().empty == 0) ++counts_.empty;  // the file itself
  }

  static DocumentCounts sum(const DocumentCounts& a, const DocumentCounts& b) {
    return {a.empty + b.empty, a.replaced + b.replaced, a.separated || b.separated};
  }

  void begin_document(const DocumentPart& part, const InputPosition& resumed) {
    const bool read_before = part.place.offset == resumed.place.offset;
    document_.at.place = part.place;
    document_.at.pieces = 0;
    document_.done = read_before ? resumed.pieces : 0;
    document_.bytes = 0;
    document_.first = true;
    document_.valid = false;
    document_.domain = part.domain;
    if (options_.domain_by != DomainBy::kNothing) document_.domain = domain_of_file(files_[document_.at.file].path);
  }

  std::string domain_of_file(const fs::path& path) const {
    return printable(options_.domain_by == DomainBy::kFolder ? fs::absolute(path).parent_path().filename().string()
                                                             : without_compression(path).stem().string());
  }

  void add_text(std::string_view text) {
    document_.bytes += text.size();
    document_.text += text;
    std::string_view rest = document_.text;
    while (const std::size_t end = piece_end(tokenizer_, rest)) {
      add_piece(rest.substr(0, end), /*last=*/false);
      rest.remove_prefix(end);
    }
    document_.text.erase(0, document_.text.size() - rest.size());
  }

  void end_document() {
    if (!document_.text.empty()) add_piece(document_.text, /*last=*/true);
    document_.text.clear();
  }

  void add_piece(std::string_view text, bool last) {
    if (document_.first && !cuts_documents_) {  // 53 bits of the content's hash as a number in [0, 1)
      const std::uint64_t hash = xxh3(text.substr(0, kPieceBytes));
      document_.valid = static_cast<double>(hash >> 11) * 0x1.0p-53 < options_.valid_fraction;
    }
    const bool first = std::exchange(document_.first, false);
    if (document_.at.pieces++ < document_.done) return;  // an earlier run did it
    batch_.text += text;
    batch_.pieces.push_back({.text_end = batch_.text.size(),
                             .ids_end = 0,
                             .set = sets_.number(document_.domain, document_.valid),
                             .file = document_.at.file,
                             .first = first,
                             .last = last});
    batch_.after = document_.at;
    batch_.input_bytes = input_bytes_;
    batch_.counts = counts_;
    if (batch_.text.size() >= kBatchBytes) push_batch();
  }

  void push_batch() {
    if (batch_.pieces.empty()) return;
    while (!queue_.empty() && queue_.text_bytes() + batch_.text.size() > window_bytes_) write_oldest();
    queue_.push(std::exchange(batch_, {}));
  }

  void write_oldest() {
    const TextBatch batch = queue_.pop();
    std::size_t ids_begin = 0, text_begin = 0;
    for (const TextPiece& piece : batch.pieces) {
      DatasetWriter& writer = sets_.writer(piece.set);
      if (piece.first) writer.begin_document();
      writer.append(std::span(batch.ids).subspan(ids_begin, piece.ids_end - ids_begin));
      const auto bytes = static_cast<std::int64_t>(piece.text_end - text_begin);
      writer.add_source(names_[piece.file], bytes);
      writer.add_text_bytes(bytes);
      ids_begin = piece.ids_end;
      text_begin = piece.text_end;
    }
    text_bytes_ += batch.text.size();
    unsaved_bytes_ += static_cast<std::int64_t>(batch.text.size());
    journal_.position = batch.after;
    journal_.input_bytes = batch.input_bytes;
    journal_.counts = batch.counts;
    if (unsaved_bytes_ >= options_.save_every) save();
    progress_.show(batch.input_bytes, text_bytes_);
  }

  void save() {
    journal_.sets = sets_.sync();
    folder_.write_journal(journal_);
    unsaved_bytes_ = 0;
  }

  struct Document {
    InputPosition at;       // behind its last piece
    std::int64_t done = 0;  // pieces that an earlier run wrote
    std::uint64_t bytes = 0;
    std::string domain;
    bool valid = false, first = true;
    std::string text;  // not yet in a piece
  };

  const PrepareText& options_;
  const Tokenizer& tokenizer_;
  const std::vector<TextFile>& files_;
  PrepareFolder& folder_;
  PrepareJournal journal_;
  DocumentCounts counts_;  // before the open document
  PrepareSets sets_;
  std::vector<std::uint64_t> file_begin_;
  std::vector<std::string> names_;
  bool cuts_documents_ = false;
  Progress progress_;
  std::size_t window_bytes_ = 0;
  std::uint64_t input_bytes_ = 0, text_bytes_ = 0;
  std::int64_t unsaved_bytes_ = 0;
  Document document_;
  TextBatch batch_;
  EncodeQueue queue_;
};

// A hash of everything that the result depends on.
std::string command_hash(const PrepareText& options, const Tokenizer& tokenizer, const std::vector<TextFile>& files) {
  Json command = {hex64(tokenizer.hash()),
                  options.valid_fraction,
                  options.shard_tokens,
                  options.format.separator,
                  options.format.text_field,
                  options.format.domain_field,
                  static_cast<int>(options.domain_by)};
  for (const TextFile& file : files)
    command.push_back({file.path.string(), file.size, file.modified, static_cast<int>(file.kind)});
  return hex64(xxh3(command.dump(-1, ' ', false, Json::error_handler_t::replace)));
}

}  // namespace

DocumentCounts prepare_text(const PrepareText& given) {
  PrepareText options = given;
  if (!(options.valid_fraction >= 0 && options.valid_fraction < 1)) {
    user_error("--valid-fraction must lie in [0, 1), not ", options.valid_fraction);
  }
  check_separator(options.format.separator);
  const Tokenizer tokenizer(options.tokenizer);
  if (tokenizer.bos_id() < 0 || tokenizer.eos_id() < 0) {
    user_error("the tokenizer '", options.tokenizer.string(),
               "' has no <s> and </s> pieces to part documents with; train one with `ttt tokenizer train`");
  }
  const fs::path model = fs::canonical(options.tokenizer);
  const std::function<bool(const fs::path&)> written = files_of_preparation(options.output);
  const std::vector<TextFile> files =
      list_text_files({.inputs = options.inputs,
                       .extensions = options.extensions,
                       .format = options.format,
                       .is_output = [&](const fs::path& path) { return path == model || written(path); }});
  bool any_plain = false;
  for (const TextFile& file : files) {
    if (file.kind == DocumentKind::kJsonLines) continue;
    any_plain = true;
    if (options.format.domain_field.empty()) continue;
    user_error("'", file.path.string(), "' is plain text, where no field '", options.format.domain_field,
               "' can name a domain; leave it out, or part the input with --domain-by");
  }
  PrepareFolder folder(options.output, command_hash(options, tokenizer, files), options.force);
  options.force = folder.forced();
  try {
    if (folder.resumes()) {
      log_info(cat("going on with the preparation in '", options.output.string(), "' from where it stopped"));
    } else {
      check_prepare_output(options);
    }
    const DocumentCounts counts = TextPreparation(options, tokenizer, files, folder).run();
    if (any_plain && !options.format.separator.empty() && !counts.separated) {
      log_warn(cat("no line of the plain text holds exactly '", options.format.separator,
                   "', so every file is one document; --separator names the whole line that parts documents"));
    }
    return counts;
  } catch (const UserError&) {
    folder.discard();
    throw;
  } catch (const Error& error) {
    fail(error.what(), "; the work so far is kept, and the same command goes on from it");
  }
}

}  // namespace ttt
