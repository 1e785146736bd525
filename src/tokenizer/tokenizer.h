// SentencePiece behind one header: training, encoding, decoding, and how many bytes of text a token stands for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ttt {

class Tokenizer {
 public:
  explicit Tokenizer(const std::filesystem::path& model_file);  // throws UserError
  static Tokenizer from_bytes(const std::string& serialized, const std::string& name);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  std::vector<std::int32_t> encode(std::string_view text) const;  // no BOS/EOS; thread-safe
  std::string decode(const std::vector<std::int32_t>& ids) const;
  std::string piece(std::int32_t id) const;
  std::int64_t vocab_size() const;
  std::int32_t bos_id() const;  // -1: none
  std::int32_t eos_id() const;  // -1: none
  // Bytes of text that each id stands for (0 for control pieces), [vocab_size]. Sums to the text's size over an encoding.
  const std::vector<std::int32_t>& token_bytes() const;
  // The serialized model, and its xxh3, which data manifests and checkpoints carry.
  const std::string& bytes() const;
  std::uint64_t hash() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Trains a lossless SentencePiece BPE model (identity normalisation, byte fallback, whitespace kept, newlines and
// tabs as pieces of their own) from text files and folders, on at most `max_bytes` of evenly spread text.
struct TokenizerTraining {
  std::vector<std::filesystem::path> inputs;
  std::filesystem::path output;  // FILE.model
  std::int64_t vocab_size = 4096;
  std::int64_t max_bytes = 20'000'000;
  std::int64_t threads = 0;  // 0: all
};
void train_tokenizer(const TokenizerTraining& options);

}  // namespace ttt
