// Writing a data set: shards grow under temporary names; commit() puts them in place, the manifest last. Until then,
// and when the writer is destroyed without it, whatever data set stood in the folder is untouched.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "data/manifest.h"

namespace ttt {

class Tokenizer;

struct DatasetWriterOptions {
  std::filesystem::path directory;
  std::int64_t vocab_size = 0;
  std::optional<std::int32_t> bos_id, eos_id;  // declared in the manifest; the caller writes them
  const Tokenizer* tokenizer = nullptr;        // copied into the set; outlives the writer
  std::int64_t shard_tokens = std::int64_t{1} << 27;
  bool force = false;  // an existing data set may be replaced
};

// Throws UserError when the folder holds a data set and `force` is not set, or a manifest.json of another kind.
void check_output_directory(const std::filesystem::path& directory, bool force);

class DatasetWriter {
 public:
  explicit DatasetWriter(
      const DatasetWriterOptions& options);  // check_output_directory, then makes the folder (throws UserError)
  ~DatasetWriter();                          // without commit(): removes the temporary files
  DatasetWriter(const DatasetWriter&) = delete;
  DatasetWriter& operator=(const DatasetWriter&) = delete;

  // The next token written is a document's first.
  void begin_document();
  // Ids must lie in [0, vocab_size).
  void append(std::span<const std::int32_t> tokens);
  void add_source(const std::string& path, std::int64_t bytes);
  void add_text_bytes(std::int64_t bytes);
  std::int64_t num_tokens() const;

  void commit();  // throws Error naming the file when the disk is full or fails

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ttt
