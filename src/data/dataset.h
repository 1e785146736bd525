// A prepared data set: token shards by mmap, read as fixed-length samples.
//
//     DIR/manifest.json         format version, dtype, counts, tokenizer hash, BOS/EOS policy, xxh3 of every shard,
//     sources DIR/tokens-00000.bin      uint16 or uint32, little endian DIR/documents-00000.bin   uint64 token offsets
//     (within the set) at which that shard's documents begin DIR/tokenizer.model       a copy of the tokenizer, when
//     there is one
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ttt {

// inputs and targets [B,T] int64: tokens[i*T : i*T+T] and the same shifted by one.
struct Batch {
  at::Tensor inputs_BT, targets_BT;
};

class Dataset {
 public:
  // Opens and checks structure and sizes (cheap: no hashing). Throws UserError naming the file and the remedy.
  explicit Dataset(const std::filesystem::path& directory);
  ~Dataset();
  Dataset(Dataset&&) noexcept;

  std::int64_t num_tokens() const;
  std::int64_t num_documents() const;
  std::int64_t vocab_size() const;
  std::optional<std::int32_t> bos_id() const;  // declared: a target equal to it is not scored
  std::optional<std::int32_t> eos_id() const;
  std::string tokenizer_hash() const;            // hex, "" without a tokenizer
  std::filesystem::path tokenizer_path() const;  // DIR/tokenizer.model, or "" when there is none
  const std::filesystem::path& directory() const;
  std::string fingerprint() const;  // hash over the shards' recorded hashes: the identity of the data

  // Samples of T tokens and their T targets: floor((num_tokens - 1) / T).
  std::int64_t num_samples(std::int64_t context) const;
  // Samples `indices` as one batch. Throws UserError for a token outside the vocabulary (naming the shard).
  Batch batch(const std::vector<std::int64_t>& indices, std::int64_t context) const;

  // Tokens begin .. begin+count-1 of the stream. Throws like batch().
  std::vector<std::int32_t> tokens(std::int64_t begin, std::int64_t count) const;

  // Hashes every shard and the tokenizer against the manifest; returns a sentence for each that differs.
  std::vector<std::string> verify() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Which sample comes n-th in training: a pure function of (seed, n). Shuffled: a keyed permutation of the samples anew
// in each epoch. Sequential: n modulo the number of samples.
class SampleOrder {
 public:
  SampleOrder(std::int64_t num_samples, bool shuffled, std::uint64_t seed);
  std::int64_t operator()(std::int64_t n) const;

 private:
  std::int64_t num_samples_;
  bool shuffled_;
  std::uint64_t seed_;
};

}  // namespace ttt
