// Whether, and from where, a run goes on.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/load.h"
#include "config/run_config.h"

namespace ttt {

// The checkpoint that a run goes on from, read and verified, and newer ones that are damaged: (folder, what is wrong).
struct ResumePoint {
  std::filesystem::path directory;
  Checkpoint checkpoint;
  std::vector<std::pair<std::filesystem::path, std::string>> damaged;
};

// The newest whole checkpoint below `root` (OUTPUT_DIR/checkpoints), or nothing where there is none at all. Changes
// nothing. Throws UserError when all are damaged, or a newer program wrote the newest.
std::optional<ResumePoint> find_resume_point(const std::filesystem::path& root);

// Moves the damaged ones out of the way, so that the run can save these steps again, each with a warning.
void set_aside_damaged(const ResumePoint& point);

// What it means that a run goes on with another value of a key: of each key there is one rule. A key that ends with a
// dot stands for its whole section.
struct ResumeRule {
  std::string key, meaning;  // meaning: for the log; empty: it would be another run
  bool may_change() const { return !meaning.empty(); }
};
const std::vector<ResumeRule>& resume_rules();

// The differences between the config of a checkpoint and the one that resumes from it, each as a line "KEY was A, now
// B: what that means". Allowed: the number of steps, the optimizer's settings, the batch, checkpoints, logging,
// evaluation, micro-batch, threads, device, paths (the data are compared by their content). Others change what the run
// is: throws UserError naming each key with both values, and the remedy.
std::vector<std::string> check_resumed_config(const RunConfig& old_config, const RunConfig& new_config);

}  // namespace ttt
