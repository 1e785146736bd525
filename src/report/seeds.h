// Runs that differ in their seed alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "report/run_log.h"

namespace ttt {

struct Moments {
  double mean = 0;
  double deviation = 0;  // standard deviation of a sample; 0 for one value
};
Moments moments_of(const std::vector<double>& values);  // at least one

// "mamba_seed1_wide", seed 1: "mamba_wide". The name itself where it does not say the seed, "all" where it says nothing
// else.
std::string name_without_seed(const std::string& name, std::int64_t seed);

// A line's run without its seed; of a search for the learning rate, whose evaluations have names of their own, the
// search's.
std::string name_of_group(const Json& line);

// Whether a line of runs.jsonl counts as a result: finished, and of a search for the learning rate the best.
bool is_result(const Json& line);

// For each results file, and for the runs in no such file, a table of their finished runs: mean and standard deviation
// of losses over seeds, and whether the first row's is another one.
std::string seeds_section(const std::vector<RunLog>& runs, const std::vector<ResultsFile>& results);

}  // namespace ttt
