// A sweep as text: what it will cost, and what came out.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "sweep/record.h"
#include "sweep/spec.h"

namespace ttt {

// What the user says about speed for `ttt sweep --dry-run`; at most one is given.
struct SpeedOptions {
  double tokens_per_second = 0;  // of every run
  double tflops = 0;             // sustained, exact products with recompute
};

// A run's speed: its own, once measured; else as the options say; else the operations a second (exact products) that
// the finished runs among `runs` reached, the median.
std::vector<std::optional<Speed>> speeds_of(const std::vector<const SweepRun*>& runs, const SpeedOptions& options);

// One line a run and their sum: status, parameters, tokens, operations, hours, disk. Of a branch what is trained beyond
// its trunk, where that is among the runs or has saved the checkpoint.
std::string cost_table(const std::vector<const SweepRun*>& runs, const SpeedOptions& options);
// The same as [{name, status, plan as in to_json(Plan), edge, branch, search, law: the sentence of its design}, ...].
Json cost_json(const std::vector<const SweepRun*>& runs, const SpeedOptions& options);

// What else there is to know before the runs: cells that are left out, the edges of grids, and for each architecture
// with a grid, or with three sizes, whether its (N, D) identify a scaling law (fit/design.h).
std::string plan_text(const Sweep& sweep, const std::vector<const SweepRun*>& runs);

// One line a run, none left out, by mixer and then by operations: validation loss against FLOPs. Failed runs show
// their error below.
std::string results_table(const std::vector<const SweepRun*>& runs);

}  // namespace ttt
