// Whether a config's training, killed and resumed on this machine, ends where an undisturbed one does
// (`ttt verify-resume`).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "train/run_diff.h"

namespace ttt {

struct VerifyResumeOptions {
  std::string config;  // a file
  std::vector<std::string> overrides;
  std::int64_t steps = 20;     // of each run; at least 4
  int kills = 3;               // kill -9 at random moments
  int ranks = 1;               // of the undisturbed run, and of the killed one
  int other_ranks = 0;         // where not 0: a third run that changes between `ranks` and this number at every kill
  std::uint64_t seed = 0;      // of the moments; 0: another one each time
  std::filesystem::path work;  // where the runs go; must not exist
};

struct VerifyResumeReport {
  struct Disturbed {
    std::string name;
    std::vector<std::int64_t> killed_at;   // the last step that was recorded then
    std::vector<int> ranks;                // of each start
    RunDiff diff;                          // against the undisturbed run
    double largest_loss_difference = 0;    // relative
    std::vector<std::string> other_files;  // of the last checkpoint, that differ byte for byte
    bool must_be_equal = true;             // to the last bit; else to kRankBound
    bool passed() const;
  };
  std::int64_t steps = 0;
  double seconds = 0;  // of the undisturbed run
  std::vector<Disturbed> runs;
  bool passed() const;
};

// By how much the loss of a step may differ, relatively, where the number of ranks changed in between: sums are then
// rounded in another order, and 20 steps of training amplify that.
constexpr double kRankBound = 1e-3;

// Trains in `work` as processes of this program; progress is logged. Throws UserError for a config that cannot be
// trained, Error when a run ends by itself in another way than it should.
VerifyResumeReport verify_resume(const VerifyResumeOptions& options);

Json to_json(const VerifyResumeReport& report);
std::string to_text(const VerifyResumeReport& report);

}  // namespace ttt
