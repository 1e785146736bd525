// Checkpoint folders: output_dir/checkpoints/step_00001000/, written as step_N.tmp, fsynced, renamed; COMPLETE last.
//
//     model.safetensors, config.json           the model in Hugging Face's layout
//     optimizer-RRRRR-of-WWWWW.safetensors     fp32 moments, by parameter; one file a rank, see optimizer_files.h
//     state.json                               step, data cursor, everything else that affects numbers
//     config.yaml, tokenizer.model (if any), manifest.json (format version; every file's size and xxh3; every tensor's
//     xxh3), COMPLETE
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/key_value_exchange.h"
#include "checkpoint/optimizer_files.h"
#include "checkpoint/safetensors.h"

namespace ttt {

// What a checkpoint holds. A model-only checkpoint (from `ttt convert`) has no optimizer and no state.
struct Checkpoint {
  NamedTensors model;  // in file layout
  // For writing: the optimizer's tensors, or this rank's pieces of them. Neither: model only.
  NamedTensors optimizer;
  std::vector<TensorPiece> optimizer_pieces;
  StoredOptimizer stored_optimizer;  // for reading, whoever wrote it
  Json hf_config;                    // config.json
  Json state;                        // null: model only
  std::string config_yaml;
  std::string tokenizer;  // bytes of tokenizer.model, or ""
};

// The same with tensors of its own on the CPU, so that it can be written while the training changes the run's.
Checkpoint snapshot(Checkpoint checkpoint);

// Which of the ranks that write a checkpoint together this one is.
struct WritingRank {
  int rank = 0, size = 1;
  KeyValueExchange* exchange = nullptr;  // of several ranks
  std::string save;                      // the same on all ranks, another for each save
};

// Writes `directory` atomically; what stood there before is replaced. Checks the free space first (throws Error naming
// what is needed and what is there).
//
// Of several ranks each calls it with its pieces of the optimizer; of the rest, rank 0's counts. It returns on all when
// the checkpoint is in its place, and throws the same message on all when it cannot be.
void write_checkpoint(const std::filesystem::path& directory, const Checkpoint& checkpoint,
                      const WritingRank& ranks = {});

// A checkpoint that is not as it was written, or not written to its end.
class DamagedCheckpoint : public UserError {
 public:
  using UserError::UserError;
};

// Opens and verifies (COMPLETE, manifest, sizes, every hash). Tensors are views of the files, read when they are used.
// Throws DamagedCheckpoint naming the file and what is wrong with it, UserError when a newer program wrote it.
enum class CheckpointParts { kModel, kAll };
// kTrusted: another process has checked the tensors' hashes.
enum class TensorHashes { kChecked, kTrusted };
Checkpoint read_checkpoint(const std::filesystem::path& directory, CheckpointParts parts,
                           TensorHashes hashes = TensorHashes::kChecked);

// What a check of a folder found; empty `problems`: whole. Reads every byte.
struct CheckpointReport {
  std::vector<std::string> problems;
  std::vector<std::pair<std::string, std::uint64_t>> files;  // name, bytes
};
CheckpointReport verify_checkpoint(const std::filesystem::path& directory);

// The folder of a step: ROOT/step_00001000.
std::filesystem::path checkpoint_path(const std::filesystem::path& root, std::int64_t step);
// Folders named like that below `root`, oldest first: (step, folder), complete or not.
std::vector<std::pair<std::int64_t, std::filesystem::path>> list_step_folders(const std::filesystem::path& root);
// Those with COMPLETE.
std::vector<std::pair<std::int64_t, std::filesystem::path>> list_checkpoints(const std::filesystem::path& root);
// Renames a damaged checkpoint to step_N.damaged (.damaged.2, ...), where nothing looks for checkpoints; the new place.
std::filesystem::path set_aside(const std::filesystem::path& directory);
// Deletes checkpoints beyond the newest keep_last (0: none are deleted) except multiples of keep_every and those of
// keep_steps, and leftover .tmp folders.
void apply_retention(const std::filesystem::path& root, std::int64_t keep_last, std::int64_t keep_every,
                     const std::vector<std::int64_t>& keep_steps = {});

}  // namespace ttt
