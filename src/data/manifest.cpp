#include "data/manifest.h"

#include <limits>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"

namespace ttt {
namespace {

constexpr const char* kManifestFormat = "ttt-tokens";
// Version 2 says which targets are scored; a set that does not is written as version 1.
constexpr std::int64_t kManifestVersion = 2;

fs::path manifest_path(const fs::path& directory) {
  return directory / "manifest.json";
}

std::uint64_t parse_hash(const Json& json) {
  const std::string text = json.get<std::string>();
  if (text.size() != 16 || text.find_first_not_of("0123456789abcdef") != std::string::npos) {
    throw std::invalid_argument("'" + text + "' is not a hash of 16 hex digits");
  }
  return std::stoull(text, nullptr, 16);
}

// A whole number from 0 to `largest`.
std::int64_t whole_number(const Json& value, const char* key, std::uint64_t largest) {
  if (!value.is_number_integer() || (!value.is_number_unsigned() && value.get<std::int64_t>() < 0))
    throw std::invalid_argument(cat(key, " is not a whole number of at least 0"));
  const auto number = value.get<std::uint64_t>();
  if (number > largest) throw std::invalid_argument(cat(key, " is ", number, ", too large to be real"));
  return static_cast<std::int64_t>(number);
}

// Far below 2^63, so that a size in bytes has room too.
std::int64_t count_of(const Json& json, const char* key) {
  return whole_number(json.at(key), key, std::uint64_t{1} << 56);
}

std::optional<std::int32_t> id_of(const Json& json, const char* key) {
  if (json.at(key).is_null()) return std::nullopt;
  return static_cast<std::int32_t>(whole_number(json.at(key), key, std::numeric_limits<std::int32_t>::max()));
}

// A file of the folder itself: a manifest must not lead elsewhere.
std::string file_name(const Json& json) {
  const std::string name = json.get<std::string>();
  if (name.empty() || name.find('/') != std::string::npos)
    throw std::invalid_argument("'" + name + "' is not a file name");
  return name;
}

}  // namespace

DatasetManifest manifest_from_json(const Json& json) {
  DatasetManifest manifest;
  manifest.vocab_size = count_of(json, "vocab_size");
  manifest.num_tokens = count_of(json, "num_tokens");
  manifest.num_documents = count_of(json, "num_documents");
  manifest.text_bytes = count_of(json, "text_bytes");
  manifest.bos_id = id_of(json, "bos_id");
  manifest.eos_id = id_of(json, "eos_id");
  if (!json.at("tokenizer").is_null()) manifest.tokenizer_xxh3 = parse_hash(json.at("tokenizer").at("xxh3"));
  if (json.at("dtype").get<std::string>() != manifest.dtype())
    throw std::invalid_argument("dtype does not fit vocab_size");
  if (json.contains("scored_tokens")) manifest.scored_tokens = count_of(json, "scored_tokens");
  if (json.contains("task")) manifest.task = json["task"];
  std::int64_t tokens = 0, documents = 0;
  for (const Json& entry : json.at("shards")) {
    DatasetManifest::Shard shard;
    shard.tokens_file = file_name(entry.at("tokens_file"));
    shard.num_tokens = count_of(entry, "num_tokens");
    shard.tokens_xxh3 = parse_hash(entry.at("tokens_xxh3"));
    shard.documents_file = file_name(entry.at("documents_file"));
    shard.num_documents = count_of(entry, "num_documents");
    shard.documents_xxh3 = parse_hash(entry.at("documents_xxh3"));
    tokens += shard.num_tokens;
    documents += shard.num_documents;
    if (manifest.has_scores()) {
      shard.scored_file = file_name(entry.at("scored_file"));
      shard.scored_xxh3 = parse_hash(entry.at("scored_xxh3"));
      shard.items_file = file_name(entry.at("items_file"));
      shard.items_xxh3 = parse_hash(entry.at("items_xxh3"));
    }
    manifest.shards.push_back(std::move(shard));
    if (tokens > manifest.num_tokens || documents > manifest.num_documents) break;  // before a sum overflows
  }
  if (tokens != manifest.num_tokens || documents != manifest.num_documents) {
    throw std::invalid_argument("the shards do not add up to num_tokens and num_documents");
  }
  for (const Json& entry : json.at("sources")) {
    manifest.sources.push_back({entry.at("path").get<std::string>(), count_of(entry, "bytes")});
  }
  if (json.contains("domain")) manifest.domain = json["domain"].get<std::string>();
  return manifest;
}

bool is_dataset(const std::filesystem::path& directory) {
  const fs::path path = manifest_path(directory);
  if (!fs::is_regular_file(path)) return false;
  const Json json = Json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  return json.is_object() && json.value("format", Json()) == kManifestFormat;
}

DatasetManifest read_manifest(const std::filesystem::path& directory) {
  const fs::path path = manifest_path(directory);
  if (!fs::exists(directory)) {
    user_error("no data set at '", directory.string(), "': there is no such folder; make one with `ttt prepare`");
  }
  if (!fs::is_regular_file(path)) {
    user_error("'", directory.string(), "' is not a data set: it has no manifest.json; make one with `ttt prepare`",
               is_dataset(directory / "train")          ? ", or name its folder train"
               : fs::exists(directory / "domains.json") ? ", or name the set of one of its domains"
                                                        : "");
  }
  try {
    const Json json = Json::parse(read_file(path));
    if (!json.is_object() || json.value("format", Json()) != kManifestFormat) {
      user_error("'", path.string(), "' does not describe a data set; name a folder that `ttt prepare` wrote");
    }
    const std::int64_t version = json.at("format_version").get<std::int64_t>();
    if (version > kManifestVersion) {
      user_error("'", path.string(), "' has format version ", version, ", and this program reads versions up to ",
                 kManifestVersion, "; update ttt, or prepare the data set again");
    }
    return manifest_from_json(json);
  } catch (const UserError&) {
    throw;
  } catch (const std::exception& error) {  // of nlohmann's parser and accessors, and of manifest_from_json()
    user_error("'", path.string(), "' is damaged (", error.what(), "); prepare the data set again");
  }
}

Json to_json(const DatasetManifest& manifest) {
  Json json;
  json["format"] = kManifestFormat;
  json["format_version"] = manifest.has_scores() ? kManifestVersion : 1;
  json["dtype"] = manifest.dtype();
  json["vocab_size"] = manifest.vocab_size;
  json["num_tokens"] = manifest.num_tokens;
  json["num_documents"] = manifest.num_documents;
  json["text_bytes"] = manifest.text_bytes;
  json["bos_id"] = manifest.bos_id ? Json(*manifest.bos_id) : Json();
  json["eos_id"] = manifest.eos_id ? Json(*manifest.eos_id) : Json();
  json["tokenizer"] = nullptr;
  if (manifest.tokenizer_xxh3)
    json["tokenizer"] = {{"file", "tokenizer.model"}, {"xxh3", hex64(*manifest.tokenizer_xxh3)}};
  if (!manifest.domain.empty()) json["domain"] = manifest.domain;
  if (manifest.has_scores()) json["scored_tokens"] = *manifest.scored_tokens;
  if (!manifest.task.is_null()) json["task"] = manifest.task;
  json["shards"] = Json::array();
  for (const DatasetManifest::Shard& shard : manifest.shards) {
    json["shards"].push_back({{"tokens_file", shard.tokens_file},
                              {"num_tokens", shard.num_tokens},
                              {"tokens_xxh3", hex64(shard.tokens_xxh3)},
                              {"documents_file", shard.documents_file},
                              {"num_documents", shard.num_documents},
                              {"documents_xxh3", hex64(shard.documents_xxh3)}});
    if (!manifest.has_scores()) continue;
    Json& entry = json["shards"].back();
    entry["scored_file"] = shard.scored_file;
    entry["scored_xxh3"] = hex64(shard.scored_xxh3);
    entry["items_file"] = shard.items_file;
    entry["items_xxh3"] = hex64(shard.items_xxh3);
  }
  json["sources"] = Json::array();
  for (const DatasetManifest::Source& source : manifest.sources) {
    json["sources"].push_back({{"path", source.path}, {"bytes", source.bytes}});
  }
  return json;
}

void write_manifest(const std::filesystem::path& directory, const DatasetManifest& manifest) {
  // A path may hold any bytes; what is not UTF-8 is replaced.
  write_file_atomically(manifest_path(directory),
                        to_json(manifest).dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace ttt
