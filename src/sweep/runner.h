// Runs a sweep's trainings as child processes on this machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "sweep/record.h"
#include "sweep/spec.h"

namespace ttt {

struct RunnerOptions {
  std::filesystem::path program;  // the binary that is started as `PROGRAM train CONFIG`
  int jobs = 1;                   // trainings at a time
  bool retry_failed = false;      // also start runs that failed before
};

// Whether the runner would start this run: not when it finished, or failed and is not to be tried again. A run whose
// config changed since, or is not known yet, counts as not yet run.
bool is_due(const SweepRun& run, const RunRecord& record, bool retry_failed);

// Runs those of `runs` that are due, resuming what was interrupted, and keeps every record and runs.jsonl of `sweep` up
// to date. A branch waits until its trunk has saved the checkpoint that it begins with, a search's run until those
// before it have ended; runs that another one's failure stops are failed, too. SIGTERM, SIGINT and SIGHUP (and the death of this process) stop the children, which save. kOk: all are
// finished; kFailed: some failed, now or before; kPreempted: stopped by a signal. The caller holds the sweep's lock.
ExitCode run_sweep(const Sweep& sweep, const std::vector<const SweepRun*>& runs, const RunnerOptions& options);

}  // namespace ttt
