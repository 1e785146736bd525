// Writing, verifying and listing checkpoint folders. The order of writing: every file fsynced, manifest.json (the hash
// of each), COMPLETE (the hash of the manifest), then the rename. So whatever a byte of damage hits, some recorded hash
// tells.
#include "checkpoint/checkpoint.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"

namespace ttt {
namespace {

constexpr std::int64_t kFormatVersion = 1;
constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kModelConfigFile = "config.json";
constexpr const char* kOptimizerFile = "optimizer-00000-of-00001.safetensors";
constexpr const char* kStateFile = "state.json";
constexpr const char* kRunConfigFile = "config.yaml";
constexpr const char* kTokenizerFile = "tokenizer.model";
constexpr const char* kManifestFile = "manifest.json";
constexpr const char* kCompleteFile = "COMPLETE";
constexpr std::uint64_t kSlackBytes =
    16 << 20;  // room for headers, the small files and the file system's own bookkeeping

std::uint64_t bytes_of(const NamedTensors& tensors) {
  std::uint64_t total = 0;
  for (const auto& [name, tensor] : tensors) total += tensor.nbytes();
  return total;
}

std::string tensor_hash(const at::Tensor& tensor) {
  const at::Tensor data = tensor.detach().cpu().contiguous();
  return hex64(xxh3(data.data_ptr(), data.nbytes()));
}

void check_space(const fs::path& directory, const Checkpoint& checkpoint) {
  const std::uint64_t needed =
      bytes_of(checkpoint.model) + bytes_of(checkpoint.optimizer) + checkpoint.tokenizer.size() + kSlackBytes;
  const std::uint64_t available = free_disk_bytes(directory);
  if (needed > available) {
    fail("the checkpoint '", directory.string(), "' needs ", needed >> 20, " MiB and its file system has ",
         available >> 20, " MiB free; free some space, or lower checkpoint.keep_last");
  }
}

// A folder is replaced only when it is a checkpoint, whole or not, or empty: anything else may be the user's own.
void check_replaceable(const fs::path& directory) {
  if (!fs::exists(directory)) return;
  if (fs::is_directory(directory) && (fs::is_empty(directory) || fs::exists(directory / kManifestFile))) return;
  user_error("'", directory.string(), "' is there already and is no checkpoint; choose another place for this one");
}

// A save that was killed leaves step_N.tmp with some of the files, the last of them cut short. It is cleared away when
// it holds nothing but files that a save writes.
void check_leftover(const fs::path& temporary) {
  const std::set<std::string> own = {kModelFile,     kModelConfigFile, kOptimizerFile, kStateFile,
                                     kRunConfigFile, kTokenizerFile,   kManifestFile,  kCompleteFile};
  if (!fs::exists(temporary)) return;
  if (fs::is_directory(temporary)) {
    const auto is_own = [&](const fs::directory_entry& entry) {
      return own.count(entry.path().filename().string()) != 0;
    };
    if (std::all_of(fs::directory_iterator(temporary), fs::directory_iterator(), is_own)) return;
  }
  user_error("'", temporary.string(), "' is in the way of a checkpoint and holds something else; move it away");
}

void write_text(const fs::path& path, const std::string& text) {
  FileWriter writer(path);
  writer.write(text.data(), text.size());
  writer.finish();
}

void rename_path(const fs::path& from, const fs::path& to) {
  if (rename(from.c_str(), to.c_str()) != 0) {
    fail("cannot rename '", from.string(), "' to '", to.string(), "': ", std::strerror(errno));
  }
}

// Puts `temporary` in the place of `directory`. Where the file system can swap two folders in one act, a reader sees
// the old or the new one; elsewhere (NFS) there is a moment with neither, in which both lie whole beside it.
void put_in_place(const fs::path& temporary, const fs::path& directory) {
  if (!fs::exists(directory)) {
    rename_path(temporary, directory);
  } else if (renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, directory.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(temporary);
  } else {
    const fs::path replaced = directory.string() + ".replaced.tmp";
    fs::remove_all(replaced);
    rename_path(directory, replaced);
    rename_path(temporary, directory);
    fs::remove_all(replaced);
  }
}

void write_files(const fs::path& directory, const Checkpoint& checkpoint) {
  Json files = Json::object(), tensors = Json::object();
  const auto record = [&](const char* name) {
    const fs::path path = directory / name;
    files[name] = {{"bytes", fs::file_size(path)}, {"xxh3", hex64(xxh3_file(path))}};
  };
  const auto write_tensors = [&](const char* name, const NamedTensors& named) {
    write_safetensors(directory / name, named, {{"format", "pt"}});
    for (const auto& [tensor_name, tensor] : named) tensors[cat(name, "/", tensor_name)] = tensor_hash(tensor);
    record(name);
  };
  const auto write_small = [&](const char* name, const std::string& text) {
    write_text(directory / name, text);
    record(name);
  };

  write_tensors(kModelFile, checkpoint.model);
  write_small(kModelConfigFile, checkpoint.hf_config.dump(2) + "\n");
  if (!checkpoint.optimizer.empty()) write_tensors(kOptimizerFile, checkpoint.optimizer);
  if (!checkpoint.state.is_null()) write_small(kStateFile, checkpoint.state.dump(2) + "\n");
  if (!checkpoint.config_yaml.empty()) write_small(kRunConfigFile, checkpoint.config_yaml);
  if (!checkpoint.tokenizer.empty()) write_small(kTokenizerFile, checkpoint.tokenizer);

  const Json manifest = {{"format_version", kFormatVersion}, {"files", files}, {"tensors", tensors}};
  const std::string text = manifest.dump(2) + "\n";
  write_text(directory / kManifestFile, text);
  write_text(directory / kCompleteFile, hex64(xxh3(text)) + "\n");
  sync_path(directory);
}

// A damaged or unfinished checkpoint: the sentence without the folder's name. Internal; callers turn it into a
// UserError or a report.
struct Problem {
  std::string text;
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
                        "; a newer ttt wrote it, use that one")};
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
std::string name_damaged_tensors(const Manifest& manifest, const std::string& file, std::string_view bytes) {
  std::string names;
  try {
    const SafetensorsFile parsed = parse_safetensors(bytes, file);
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

// Size and hash of one file; a Problem when they differ from the manifest's. Returns its map for further reading.
MappedFile check_file(const fs::path& directory, const Manifest& manifest, const ManifestFile& file) {
  const fs::path path = directory / file.name;
  if (!fs::exists(path)) throw Problem{cat("the file ", file.name, " is missing")};
  MappedFile map(path);
  if (map.bytes().size() != file.bytes) {
    throw Problem{cat(file.name, " has ", map.bytes().size(), " bytes instead of ", file.bytes)};
  }
  if (hex64(xxh3(map.text())) != file.xxh3) {
    const bool has_tensors = file.name.ends_with(".safetensors");
    throw Problem{cat(file.name, has_tensors ? name_damaged_tensors(manifest, file.name, map.text()) : "",
                      " does not have the checksum that the manifest records")};
  }
  return map;
}

NamedTensors to_list(SafetensorsFile file) {
  NamedTensors list;
  for (auto& [name, tensor] : file.tensors) list.emplace_back(name, std::move(tensor));
  return list;
}

Json parse_json_file(std::string_view text, const std::string& name) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) throw Problem{name + " is not JSON"};
  return json;
}

// "step_00001000" -> 1000; -1 for any other name.
std::int64_t step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step_";
  if (!name.starts_with(kPrefix) || name.size() < kPrefix.size() + 8 || name.size() > kPrefix.size() + 18) return -1;
  const std::string digits = name.substr(kPrefix.size());
  if (digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

}  // namespace

void write_checkpoint(const std::filesystem::path& directory, const Checkpoint& checkpoint) {
  check_replaceable(directory);
  check_space(directory, checkpoint);
  const fs::path place = fs::absolute(directory).lexically_normal();
  const fs::path parent = place.has_filename() ? place.parent_path() : place.parent_path().parent_path();
  const fs::path target = place.has_filename() ? place : place.parent_path();
  const fs::path temporary = target.string() + ".tmp";
  make_writable_directory(parent);
  check_leftover(temporary);
  try {
    fs::remove_all(temporary);
    fs::create_directory(temporary);
    write_files(temporary, checkpoint);
    put_in_place(temporary, target);
    sync_path(parent);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
}

Checkpoint read_checkpoint(const std::filesystem::path& directory, CheckpointParts parts) {
  try {
    const Manifest manifest = read_manifest(directory);
    Checkpoint checkpoint;
    bool has_model = false;
    for (const ManifestFile& file : manifest.files) {
      const MappedFile map = check_file(directory, manifest, file);
      const std::string path = (directory / file.name).string();
      if (file.name == kModelFile) {
        checkpoint.model = to_list(parse_safetensors(map.text(), path));
        has_model = true;
      } else if (file.name == kOptimizerFile && parts == CheckpointParts::kAll) {
        checkpoint.optimizer = to_list(parse_safetensors(map.text(), path));
      } else if (file.name == kModelConfigFile) {
        checkpoint.hf_config = parse_json_file(map.text(), file.name);
      } else if (file.name == kStateFile && parts == CheckpointParts::kAll) {
        checkpoint.state = parse_json_file(map.text(), file.name);
      } else if (file.name == kRunConfigFile) {
        checkpoint.config_yaml = map.text();
      } else if (file.name == kTokenizerFile) {
        checkpoint.tokenizer = map.text();
      }
    }
    if (!has_model || checkpoint.hf_config.is_null()) throw Problem{"its manifest lists no model"};
    return checkpoint;
  } catch (const Problem& problem) {
    user_error("cannot use the checkpoint '", directory.string(), "': ", problem.text,
               "; take another checkpoint or copy this one anew");
  }
}

CheckpointReport verify_checkpoint(const std::filesystem::path& directory) {
  CheckpointReport report;
  try {
    const Manifest manifest = read_manifest(directory);
    for (const ManifestFile& file : manifest.files) {
      report.files.emplace_back(file.name, file.bytes);
      try {
        check_file(directory, manifest, file);
      } catch (const Problem& problem) {
        report.problems.push_back(problem.text);
      }
    }
  } catch (const Problem& problem) {
    report.problems.push_back(problem.text);
  }
  return report;
}

std::filesystem::path checkpoint_path(const std::filesystem::path& root, std::int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step_%08lld", static_cast<long long>(step));
  return root / name;
}

std::vector<std::pair<std::int64_t, std::filesystem::path>> list_checkpoints(const std::filesystem::path& root) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  if (!fs::is_directory(root)) return found;
  for (const auto& entry : fs::directory_iterator(root)) {
    const std::int64_t step = step_of(entry.path().filename().string());
    if (step >= 0 && fs::exists(entry.path() / kCompleteFile)) found.emplace_back(step, entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

void apply_retention(const std::filesystem::path& root, std::int64_t keep_last, std::int64_t keep_every) {
  const auto checkpoints = list_checkpoints(root);
  const auto count = static_cast<std::int64_t>(checkpoints.size());
  for (std::int64_t i = 0; keep_last > 0 && i < count - keep_last; ++i) {
    const auto& [step, path] = checkpoints[static_cast<std::size_t>(i)];
    if (keep_every > 0 && step % keep_every == 0) continue;
    rename_path(
        path,
        path.string() + ".tmp");  // first renamed: deletion that is cut off leaves nothing that looks like a checkpoint
  }
  if (!fs::is_directory(root)) return;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(root)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step_") && name.ends_with(".tmp")) leftovers.push_back(entry.path());
  }
  for (const fs::path& path : leftovers) fs::remove_all(path);
}

}  // namespace ttt
