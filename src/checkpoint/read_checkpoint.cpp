// Reading and verifying checkpoint folders: every byte of every file is checked, by this process or another, before
// anything is used. Hashing reads a file block by block, so that it takes no memory.
#include <map>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/folder.h"

namespace ttt {
namespace {

using namespace checkpoint_folder;

// A damaged or unfinished checkpoint: the sentence without the folder's name. Internal; callers turn it into a
// UserError or a report.
struct Problem {
  std::string text;
  bool damage = true;  // false: nothing is wrong with it
};

struct ManifestFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::string xxh3;
};

struct Manifest {
  std::vector<ManifestFile> files;
  std::map<std::string, std::string> tensors;  // "file/tensor": xxh3
};

Manifest read_manifest(const fs::path& directory) {
  if (!fs::is_directory(directory)) throw Problem{"there is no such folder"};
  if (!fs::exists(directory / kManifestFile)) throw Problem{"it has no manifest.json"};
  if (!fs::exists(directory / kCompleteFile))
    throw Problem{"it has no file COMPLETE, so that its writing did not finish"};
  const std::string text = read_file(directory / kManifestFile);
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  // The version comes first: a later version may seal its manifest differently.
  if (json.is_object() && json.contains("format_version") && json["format_version"].is_number_integer()) {
    const auto version = json["format_version"].get<std::int64_t>();
    if (version > kFormatVersion) {
      throw Problem{cat("its format_version is ", version, " and this program reads up to ", kFormatVersion,
                        "; a newer ttt wrote it, use that one"),
                    /*damage=*/false};
    }
  }
  if (read_file(directory / kCompleteFile) != hex64(xxh3(text)) + "\n") {
    throw Problem{"manifest.json does not have the checksum that COMPLETE records"};
  }
  Manifest manifest;
  try {
    for (const auto& [name, entry] : json.at("files").items()) {
      if (name.find('/') != std::string::npos) throw Problem{"manifest.json names a file outside the folder"};
      if (!entry.at("bytes").is_number_unsigned()) throw Problem{cat("manifest.json has no size for ", name)};
      manifest.files.push_back({name, entry.at("bytes").get<std::uint64_t>(), entry.at("xxh3").get<std::string>()});
    }
    for (const auto& [name, hash] : json.at("tensors").items()) manifest.tensors[name] = hash.get<std::string>();
  } catch (const Json::exception&) {
    throw Problem{"manifest.json lacks the files' sizes and checksums"};
  }
  return manifest;
}

// Which tensors of a damaged file differ, as far as the file can still be parsed.
std::string name_damaged_tensors(const Manifest& manifest, const fs::path& directory, const std::string& file) {
  std::string names;
  try {
    const SafetensorsFile parsed = read_safetensors(directory / file);
    for (const auto& [name, tensor] : parsed.tensors) {
      const auto expected = manifest.tensors.find(file + "/" + name);
      if (expected != manifest.tensors.end() && expected->second == tensor_hash(tensor)) continue;
      names += (names.empty() ? " (tensor '" : ", '") + name + "'";
    }
  } catch (const UserError&) {
    return " (its header)";
  }
  return names.empty() ? " (its header)" : names + ")";
}

bool has_tensors(const ManifestFile& file) {
  return file.name.ends_with(".safetensors");
}

// Size and hash of one file; a Problem when they differ from the manifest's.
void check_file(const fs::path& directory, const Manifest& manifest, const ManifestFile& file, TensorHashes hashes) {
  const fs::path path = directory / file.name;
  if (!fs::exists(path)) throw Problem{cat("the file ", file.name, " is missing")};
  if (!fs::is_regular_file(path)) throw Problem{cat(file.name, " is not a file")};
  if (const std::uintmax_t size = fs::file_size(path); size != file.bytes)
    throw Problem{cat(file.name, " has ", size, " bytes instead of ", file.bytes)};
  if (has_tensors(file) && hashes == TensorHashes::kTrusted) return;
  if (hex64(xxh3_file(path)) == file.xxh3) return;
  throw Problem{cat(file.name, has_tensors(file) ? name_damaged_tensors(manifest, directory, file.name) : "",
                    " does not have the checksum that the manifest records")};
}

NamedTensors to_list(SafetensorsFile file) {
  NamedTensors list;
  for (auto& [name, tensor] : file.tensors) list.emplace_back(name, std::move(tensor));
  return list;
}

Json read_json_file(const fs::path& directory, const std::string& name) {
  Json json = Json::parse(read_file(directory / name), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) throw Problem{name + " is not JSON"};
  return json;
}

}  // namespace

Checkpoint read_checkpoint(const std::filesystem::path& directory, CheckpointParts parts, TensorHashes hashes) {
  try {
    const Manifest manifest = read_manifest(directory);
    Checkpoint checkpoint;
    std::map<std::string, SafetensorsFile> optimizer;
    bool has_model = false;
    for (const ManifestFile& file : manifest.files) {
      check_file(directory, manifest, file, hashes);
      const fs::path path = directory / file.name;
      if (file.name == kModelFile) {
        checkpoint.model = to_list(read_safetensors(path));
        has_model = true;
      } else if (parse_optimizer_file_name(file.name)) {
        if (parts == CheckpointParts::kAll) optimizer.emplace(file.name, read_safetensors(path));
      } else if (file.name == kModelConfigFile) {
        checkpoint.hf_config = read_json_file(directory, file.name);
      } else if (file.name == kStateFile && parts == CheckpointParts::kAll) {
        checkpoint.state = read_json_file(directory, file.name);
      } else if (file.name == kRunConfigFile) {
        checkpoint.config_yaml = read_file(path);
      } else if (file.name == kTokenizerFile) {
        checkpoint.tokenizer = read_file(path);
      }
    }
    if (!has_model || checkpoint.hf_config.is_null()) throw Problem{"its manifest lists no model"};
    try {
      checkpoint.stored_optimizer = StoredOptimizer(optimizer);
    } catch (const UserError& error) {
      throw Problem{error.what()};
    }
    return checkpoint;
  } catch (const Problem& problem) {
    const std::string message = cat("cannot use the checkpoint '", directory.string(), "': ", problem.text,
                                    "; take another checkpoint or copy this one anew");
    if (problem.damage) throw DamagedCheckpoint(message);
    throw UserError(message);
  }
}

CheckpointReport verify_checkpoint(const std::filesystem::path& directory) {
  CheckpointReport report;
  try {
    const Manifest manifest = read_manifest(directory);
    for (const ManifestFile& file : manifest.files) {
      report.files.emplace_back(file.name, file.bytes);
      try {
        check_file(directory, manifest, file, TensorHashes::kChecked);
      } catch (const Problem& problem) {
        report.problems.push_back(problem.text);
      }
    }
  } catch (const Problem& problem) {
    report.problems.push_back(problem.text);
  }
  return report;
}

}  // namespace ttt
