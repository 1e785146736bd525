// Branches: WSD runs of several lengths share one trunk.
//
//     branches: true
//
// Of the runs that differ in train.steps alone the longest is the trunk. It keeps a checkpoint of the step at which each
// of the others begins to cool down (checkpoint.keep_steps), and they go on from there (branch_from), bit for bit as if
// they had been trained from their beginning. That is also what a branch does whose trunk has finished without such a
// checkpoint, or was rolled back to it (train/run_safety.h), or is not among the runs that the sweep was asked for.
#pragma once

#include <filesystem>

#include "sweep/spec.h"

namespace ttt {

// Finds trunks and branches among the runs. Throws UserError, beginning with `place`, where there are none, where runs
// that differ in their steps have another schedule than WSD, and where they do not share a warm-up.
void plan_branches(Sweep& sweep, const std::string& place);

// Whether a checkpoint is there as a whole.
bool is_complete(const std::filesystem::path& checkpoint);
// Whether a checkpoint's run leaves out samples that come after it: it was rolled back there for what happened later, so
// that what goes on from it is not what a run of its own length would be.
bool passes_over_later_samples(const std::filesystem::path& checkpoint);
// Whether a run has a checkpoint of its own to go on from.
bool has_own_checkpoint(const SweepRun& run);

}  // namespace ttt
