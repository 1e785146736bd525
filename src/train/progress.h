// The progress line of a training run: step, loss, tokens a second, time left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/timer.h"

namespace ttt {

struct ProgressNumbers {
  std::int64_t step = 0, steps = 0;
  double loss = 0, tokens_per_second = 0, seconds_left = 0;
};

// "step 120/600  loss 4.1234  ETA 1:05  12.3k tokens/s", for a log. With `columns` a bar is added, and parts are left
// out from the end as far as there is no room for them in so many characters.
std::string progress_line(const ProgressNumbers& numbers, std::optional<std::size_t> columns = {});

// On a terminal one line is redrawn; elsewhere, and in train.log, lines come at most every 10 s, and for the first and
// last step.
class Progress {
 public:
  Progress(std::int64_t first_step, std::int64_t steps, std::int64_t tokens_per_step, bool quiet);

  // After each step. `seconds`: of the step alone, without validation and saving.
  void update(std::int64_t step, double loss, double seconds, bool show);

 private:
  ProgressNumbers numbers(std::int64_t step, double loss) const;
  std::int64_t first_step_, steps_, tokens_per_step_;
  bool quiet_;
  double seconds_per_step_ = 0;  // exponential mean over about the last 20 steps
  Timer since_line_, since_drawn_;
};

// 3725 -> "1:02:05", 65 -> "1:05".
std::string format_duration(double seconds);
// 12345.6 -> "12.3k"
std::string format_count(double count);

}  // namespace ttt
