#include "train/progress.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/log.h"

namespace ttt {
namespace {

constexpr double kSecondsBetweenLines = 10.0;
constexpr double kSmoothing = 0.05;

}  // namespace

std::string format_duration(double seconds) {
  const auto total = static_cast<long long>(seconds + 0.5);
  const long long hours = total / 3600, minutes = total / 60 % 60, rest = total % 60;
  char text[48];
  if (hours > 0) {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", hours, minutes, rest);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", minutes, rest);
  }
  return text;
}

std::string format_count(double count) {
  const char* units[] = {"", "k", "M", "G", "T"};
  int unit = 0;
  while (count >= 1000 && unit < 4) {
    count /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit > 0 && count < 100 ? "%.1f%s" : "%.0f%s", count, units[unit]);
  return text;
}

Progress::Progress(std::int64_t first_step, std::int64_t steps, std::int64_t tokens_per_step, bool quiet)
    : first_step_(first_step), steps_(steps), tokens_per_step_(tokens_per_step), quiet_(quiet) {}

std::string Progress::line(std::int64_t step, double loss) const {
  char numbers[64];
  std::snprintf(numbers, sizeof numbers, "loss %.4f", loss);
  const double left = seconds_per_step_ * static_cast<double>(steps_ - step);
  return cat("step ", step, "/", steps_, "  ", numbers, "  ",
             format_count(static_cast<double>(tokens_per_step_) / seconds_per_step_), " tokens/s  ETA ",
             format_duration(left));
}

void Progress::update(std::int64_t step, double loss, double seconds, bool show) {
  seconds = std::max(seconds, 1e-9);
  const bool first = step == first_step_;
  // The first step also pays for allocations and thread start; the second one takes its place.
  seconds_per_step_ =
      step <= first_step_ + 1 ? seconds : seconds_per_step_ + kSmoothing * (seconds - seconds_per_step_);
  const bool last = step == steps_;
  const bool due = first || last || since_line_.seconds() >= kSecondsBetweenLines;
  if (stderr_is_terminal() && !quiet_ && (show || last)) show_progress(line(step, loss));
  if (!due) return;
  since_line_.restart();
  // On a terminal the redrawn line is enough: this one goes to train.log alone.
  if (stderr_is_terminal()) set_log_verbose(false);
  log_info(line(step, loss));
  set_log_verbose(!quiet_);
}

}  // namespace ttt
