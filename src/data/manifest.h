// manifest.json of a data set: what is in it, by whom it was tokenised, and the hash of every file. A folder without it
// is no data set.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace ttt {

struct DatasetManifest {
  struct Shard {
    std::string tokens_file, documents_file;  // names within the folder
    std::int64_t num_tokens = 0;              // in tokens_file
    std::int64_t num_documents = 0;           // documents that begin in this shard: offsets in documents_file
    std::uint64_t tokens_xxh3 = 0, documents_xxh3 = 0;
  };
  struct Source {
    std::string path;  // as it was given
    std::int64_t bytes = 0;
  };

  std::int64_t vocab_size = 0;
  std::int64_t num_tokens = 0;
  std::int64_t num_documents = 0;
  std::int64_t text_bytes = 0;                  // of text that the tokens stand for; 0: unknown (no tokenizer)
  std::optional<std::int32_t> bos_id, eos_id;   // stand before and behind every document
  std::optional<std::uint64_t> tokenizer_xxh3;  // of DIR/tokenizer.model
  std::string domain;                           // that the documents are of; empty: none was named
  std::vector<Shard> shards;
  std::vector<Source> sources;

  std::int64_t bytes_per_token() const { return vocab_size <= 65536 ? 2 : 4; }  // in a shard: uint16 or uint32
  const char* dtype() const { return vocab_size <= 65536 ? "uint16" : "uint32"; }
};

// The folder holds a data set (a manifest.json that says so).
bool is_dataset(const std::filesystem::path& directory);

// Throws UserError: no such folder, not a data set, a damaged manifest, a format version newer than this program's.
DatasetManifest read_manifest(const std::filesystem::path& directory);

// The object that manifest.json holds, and back (throws std::exception for what is not one).
Json to_json(const DatasetManifest& manifest);
DatasetManifest manifest_from_json(const Json& json);

// Atomically; the last act of writing a data set.
void write_manifest(const std::filesystem::path& directory, const DatasetManifest& manifest);

}  // namespace ttt
