// Writing a data set: its files grow in a staging folder; commit() puts them in place, the manifest last. Until then,
// and when the writer is destroyed without it, whatever data set stood in the folder is untouched.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/json.h"
#include "data/manifest.h"

namespace ttt {

class Tokenizer;

struct DatasetWriterOptions {
  std::filesystem::path directory;
  std::int64_t vocab_size = 0;
  std::optional<std::int32_t> bos_id, eos_id;  // declared in the manifest; the caller writes them
  const Tokenizer* tokenizer = nullptr;        // copied into the set; outlives the writer
  std::int64_t shard_tokens = std::int64_t{1} << 27;
  bool force = false;                  // an existing data set may be replaced
  std::string domain = {};             // goes into the manifest
  bool scores = false;                 // the set says which targets are scored
  Json task = {};                      // goes into the manifest
  std::filesystem::path staging = {};  // empty: DIR/.staging, which the writer removes when it goes
};

// Throws UserError when the folder holds a data set and `force` is not set, or a manifest.json of another kind.
void check_output_directory(const std::filesystem::path& directory, bool force);

// Moves the finished set in `staging` to its folder, which may hold an older set. Called again after it was
// interrupted, it completes what is left to do.
void place_dataset(const std::filesystem::path& staging, const std::filesystem::path& directory);

// Removes a data set's files and, when it is empty then, its folder.
void remove_dataset(const std::filesystem::path& directory);

// By its name, and for names that other files may have as well, what lies beside it.
bool is_file_of_dataset(const std::filesystem::path& path);

class DatasetWriter {
 public:
  // check_output_directory, then makes the staging folder (throws UserError).
  explicit DatasetWriter(const DatasetWriterOptions& options);
  // Goes on in `options.staging` from where sync() returned `state`; what was written there later goes. Throws
  // UserError when the files do not hold it.
  DatasetWriter(const DatasetWriterOptions& options, const Json& state);
  ~DatasetWriter();
  DatasetWriter(const DatasetWriter&) = delete;
  DatasetWriter& operator=(const DatasetWriter&) = delete;

  // The next token written is a document's first. `items`: of a set with scores, see data/dataset.h.
  void begin_document(std::uint32_t items = 0);
  // Ids must lie in [0, vocab_size). A set with scores takes kScored and kFirstOfAnswer of each.
  void append(std::span<const std::int32_t> tokens, std::span<const std::uint8_t> marks = {});
  // Bytes of a file's text that the tokens stand for; may be called for a file several times in a row.
  void add_source(const std::string& path, std::int64_t bytes);
  void add_text_bytes(std::int64_t bytes);
  const DatasetManifest& manifest() const;

  Json sync();    // everything so far is on the disk; returns the state from which another writer may go on
  void finish();  // the staging folder holds the whole set. Throws Error naming the file when the disk is full or fails
  void commit();  // finish(), then puts the set in place

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ttt
