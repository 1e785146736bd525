// A sweep as a Slurm job array: one task a run, each `ttt sweep SWEEP --run TASK`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sweep/spec.h"

namespace ttt {

// "0,3,5-9": what --array takes, for indices in rising order.
std::string array_ranges(const std::vector<std::size_t>& indices);

struct SlurmOptions {
  std::filesystem::path program;
  std::vector<std::string> overrides;  // of the command line, handed on to each task
  int at_most = 0;                     // tasks at a time; 0: as many as Slurm gives
};

// The batch script for `runs`. A task that is about to be taken away gets SIGTERM two minutes before, saves, and is
// queued again. Paths in it are absolute, and it starts in the folder that this process runs in.
std::string slurm_script(const Sweep& sweep, const std::vector<const SweepRun*>& runs, const SlurmOptions& options);

}  // namespace ttt
