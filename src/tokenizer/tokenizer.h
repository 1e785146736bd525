// SentencePiece behind one header: training, encoding, decoding, and how many bytes of text a token stands for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/document_reader.h"

namespace ttt {

class Tokenizer {
 public:
  explicit Tokenizer(const std::filesystem::path& model_file);  // throws UserError
  static Tokenizer from_bytes(const std::string& serialized, const std::string& name);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // No BOS/EOS; thread-safe. With a model of train_tokenizer, decode(encode(text)) is `text` for any bytes whatever;
  // with models made elsewhere it is what SentencePiece makes of them (a dummy prefix, folded characters). `continued`:
  // the text is a part, not the first one, of a longer text (see segments).
  std::vector<std::int32_t> encode(std::string_view text, bool continued = false) const;
  // Control pieces give nothing. Throws UserError for an id outside the vocabulary.
  std::string decode(const std::vector<std::int32_t>& ids) const;
  // Cuts a text into parts of about `size` bytes whose encodings, one behind the other, are the encoding of the whole.
  // A part ends before a space. A run of text without one, longer than 16 KiB, is encoded in parts of 8 to 16 KiB,
  // which bounds the memory that it takes: they end where no piece of the model could reach across, else anywhere
  // between two characters, always at the same ones. With a model that changes more than a dummy space in front, any
  // text is one part, and cuts_text() is false.
  std::vector<std::string_view> segments(std::string_view text, std::size_t size) const;
  // The end of the first of these parts; npos when the text would not be cut.
  std::size_t first_cut(std::string_view text, std::size_t size) const;
  bool cuts_text() const;
  std::string piece(std::int32_t id) const;
  std::int64_t vocab_size() const;
  std::int32_t bos_id() const;  // -1: none
  std::int32_t eos_id() const;  // -1: none
  std::int32_t pad_id() const;  // -1: none
  // Bytes of text that each id stands for (0 for control pieces), [vocab_size]. Sums to the text's size over an
  // encoding.
  const std::vector<std::int32_t>& token_bytes() const;
  // The serialized model, and its xxh3, which data manifests and checkpoints carry.
  const std::string& bytes() const;
  std::uint64_t hash() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Trains a lossless SentencePiece BPE model (identity normalisation, byte fallback, whitespace kept; newlines are
// ordinary characters, runs of tabs pieces of their own, digits single) on at most `max_bytes` of text, spread evenly
// over the inputs. Ids: 0 <unk>, 1 <s> (BOS), 2 </s> (EOS), then tabs, bytes, pieces. The model is a pure function of
// text and options. Throws UserError for a missing path, empty text, text that is not UTF-8, and a vocab_size that the
// text cannot fill.
struct TokenizerTraining {
  std::vector<std::filesystem::path> inputs;  // files and folders
  std::vector<std::string> extensions;        // only files of folders that end so (".h"); empty: all
  std::filesystem::path output;               // FILE.model
  std::int64_t vocab_size = 4096;
  std::int64_t max_bytes = 20'000'000;
  DocumentFormat format = {};  // how files hold documents (see DocumentReader)
};
void train_tokenizer(const TokenizerTraining& options);

}  // namespace ttt
