// Where two runs part, from their ledgers (train/ledger.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "config/load.h"

namespace ttt {

struct RunDiff {
  struct Parting {
    std::int64_t step = 0;
    std::vector<std::string> what;  // of "samples", "loss", "grad_norm", "parameters"
    double loss_a = 0, loss_b = 0;
  };
  std::int64_t steps_compared = 0, digests_compared = 0;
  std::int64_t last_step_a = 0, last_step_b = 0;
  std::optional<Parting> first;        // nothing: all steps that both have are bit-equal
  std::int64_t last_equal_digest = 0;  // a step; 0: none
  std::optional<std::int64_t> first_other_digest;
  std::vector<FieldDifference> config;  // without output_dir
  std::vector<std::string> notes;       // what could not be read, and so not be compared
  bool equal() const { return !first; }
};

// Compares the steps that both runs have. A line of a ledger that is damaged, and a config that this version of ttt
// cannot read, are noted and left out. Throws UserError naming the folder that has no ledger, or when there is no such
// step.
RunDiff diff_runs(const std::filesystem::path& a, const std::filesystem::path& b);

Json to_json(const RunDiff& diff);
std::string to_text(const RunDiff& diff);

}  // namespace ttt
