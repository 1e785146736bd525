// Whether, and from where, a run goes on.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/load.h"
#include "config/run_config.h"

namespace ttt {

// The newest checkpoint below `root` (OUTPUT_DIR/checkpoints), or nothing. Throws UserError when a newer step folder is
// there that is not complete, since our own writing never leaves one: something else damaged it.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& root);

// A sentence's end that says how to fall back to the checkpoint before `damaged`.
std::string fall_back_advice(const std::filesystem::path& root, const std::filesystem::path& damaged);

// The differences between the config of a checkpoint and the one that resumes from it, each as a line "KEY was A, now
// B: what that means". Allowed: the number of steps, the optimizer's settings, the batch, checkpoints, logging,
// evaluation, micro-batch, threads, device, paths (the data are compared by their content). Others change what the run
// is: throws UserError naming each key with both values, and the remedy.
std::vector<std::string> check_resumed_config(const RunConfig& old_config, const RunConfig& new_config);

}  // namespace ttt
