// Whether, and from where, a run goes on.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/load.h"
#include "config/resume_rules.h"
#include "config/run_config.h"

namespace ttt {

// The checkpoint that a run goes on from, opened and verified, and newer ones that are damaged: (folder, what is wrong).
struct ResumePoint {
  std::filesystem::path directory;
  Checkpoint checkpoint;
  std::vector<std::pair<std::filesystem::path, std::string>> damaged;
  bool is_branch = false;  // it is another run's, which branch_from names
};

// The newest whole checkpoint below `root` (OUTPUT_DIR/checkpoints), or nothing where there is none at all. Changes
// nothing. Throws UserError when all are damaged, or a newer program wrote the newest.
std::optional<ResumePoint> find_resume_point(const std::filesystem::path& root);

// The checkpoint that branch_from names. Throws UserError where it is none, or has no training state.
ResumePoint find_branch_point(const std::filesystem::path& directory);

// Moves the damaged ones out of the way, so that the run can save these steps again, each with a warning.
void set_aside_damaged(const ResumePoint& point);

// The differences between the config of a checkpoint and the one that resumes from it, each as a line "KEY was A, now
// B: what that means". Allowed: the number of steps, the optimizer's settings, the batch, checkpoints, logging,
// evaluation, micro-batch, threads, device, paths (the data are compared by their content). Others change what the run
// is: throws UserError naming each key with both values, and the remedy.
std::vector<std::string> check_resumed_config(const RunConfig& old_config, const RunConfig& new_config);

// The same for a run that goes on from step `step` of another one, its trunk, as if it had been trained from the
// beginning: such as one with fewer train.steps of a WSD schedule, whose decay begins there. Throws UserError naming
// each key that had to be the same, the first step whose learning rate (or inner learning rate) is another, or that
// nothing is left to train.
std::vector<std::string> check_branch_config(const RunConfig& trunk, const RunConfig& branch, std::int64_t step);

}  // namespace ttt
