// Checkpoint folders: output_dir/checkpoints/step_00001000/, written as step_N.tmp, fsynced, renamed; COMPLETE last.
//
//     model.safetensors, config.json           the model in Hugging Face's layout
//     optimizer-00000-of-00001.safetensors     fp32 moments, by parameter
//     state.json                               step, data cursor, everything else that affects numbers
//     config.yaml, tokenizer.model (if any), manifest.json (format version; every file's size and xxh3; every tensor's
//     xxh3), COMPLETE
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "checkpoint/safetensors.h"

namespace ttt {

// What a checkpoint holds. A model-only checkpoint (from `ttt convert`) has no optimizer and no state.
struct Checkpoint {
  NamedTensors model;      // in file layout
  NamedTensors optimizer;  // empty: model only
  Json hf_config;          // config.json
  Json state;              // null: model only
  std::string config_yaml;
  std::string tokenizer;  // bytes of tokenizer.model, or ""
};

// Writes `directory` atomically; what stood there before is replaced. Checks the free space first (throws Error naming
// what is needed and what is there).
void write_checkpoint(const std::filesystem::path& directory, const Checkpoint& checkpoint);

// Reads and verifies (COMPLETE, manifest, sizes, every hash). Throws UserError naming the file and what is wrong with
// it.
enum class CheckpointParts { kModel, kAll };
Checkpoint read_checkpoint(const std::filesystem::path& directory, CheckpointParts parts);

// What a check of a folder found; empty `problems`: whole. Reads every byte.
struct CheckpointReport {
  std::vector<std::string> problems;
  std::vector<std::pair<std::string, std::uint64_t>> files;  // name, bytes
};
CheckpointReport verify_checkpoint(const std::filesystem::path& directory);

// The folder of a step: ROOT/step_00001000.
std::filesystem::path checkpoint_path(const std::filesystem::path& root, std::int64_t step);
// Complete checkpoints below `root`, oldest first: (step, folder). Folders without COMPLETE are ignored.
std::vector<std::pair<std::int64_t, std::filesystem::path>> list_checkpoints(const std::filesystem::path& root);
// Deletes checkpoints beyond the newest keep_last (0: none are deleted) except multiples of keep_every, and leftover
// .tmp folders.
void apply_retention(const std::filesystem::path& root, std::int64_t keep_last, std::int64_t keep_every);

}  // namespace ttt
