// The progress line of a training run: step, loss, tokens a second, time left.
#pragma once

#include <cstdint>
#include <string>

#include "base/timer.h"

namespace ttt {

// On a terminal one line is redrawn; elsewhere, and in train.log, lines come at most every 10 s, and for the first and
// last step.
class Progress {
 public:
  Progress(std::int64_t first_step, std::int64_t steps, std::int64_t tokens_per_step, bool quiet);

  // After each step. `seconds`: of the step alone, without validation and saving.
  void update(std::int64_t step, double loss, double seconds, bool show);

 private:
  std::string line(std::int64_t step, double loss) const;
  std::int64_t first_step_, steps_, tokens_per_step_;
  bool quiet_;
  double seconds_per_step_ = 0;  // exponential mean over about the last 20 steps
  Timer since_line_;
};

// 3725 -> "1:02:05", 65 -> "1:05".
std::string format_duration(double seconds);
// 12345.6 -> "12.3k"
std::string format_count(double count);

}  // namespace ttt
