#include "train/progress.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/log.h"

namespace ttt {
namespace {

constexpr double kSecondsBetweenLines = 10.0, kSecondsBetweenDraws = 0.05;
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

std::string progress_line(const ProgressNumbers& numbers, std::optional<std::size_t> columns) {
  char loss[32];
  std::snprintf(loss, sizeof loss, "loss %.4f", numbers.loss);
  const std::string step = cat("step ", numbers.step, "/", numbers.steps);
  const std::string left = "ETA " + format_duration(numbers.seconds_left);
  const std::string speed = format_count(numbers.tokens_per_second) + " tokens/s";
  // What is told first goes last when there is no room for all.
  std::string line = step;
  for (const std::string& part : {std::string(loss), left, speed}) {
    if (!columns || line.size() + 2 + part.size() <= *columns) line += "  " + part;
  }
  constexpr std::size_t kBrackets = 4, kNarrowest = 10, kWidest = 40;  // two spaces and [ ]
  if (!columns || line.size() + kBrackets + kNarrowest > *columns) return line;
  const std::size_t cells = std::min(*columns - line.size() - kBrackets, kWidest);
  const double share =
      static_cast<double>(numbers.step) / static_cast<double>(std::max<std::int64_t>(numbers.steps, 1));
  const auto done = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(cells));
  return cat(line, "  [", std::string(done, '#'), std::string(cells - done, '.'), "]");
}

Progress::Progress(std::int64_t first_step, std::int64_t steps, std::int64_t tokens_per_step, bool quiet)
    : first_step_(first_step), steps_(steps), tokens_per_step_(tokens_per_step), quiet_(quiet) {}

ProgressNumbers Progress::numbers(std::int64_t step, double loss) const {
  return {step, steps_, loss, static_cast<double>(tokens_per_step_) / seconds_per_step_,
          seconds_per_step_ * static_cast<double>(steps_ - step)};
}

void Progress::update(std::int64_t step, double loss, double seconds, bool show) {
  seconds = std::max(seconds, 1e-9);
  const bool first = step == first_step_;
  // The first step also pays for allocations and thread start; the second one takes its place.
  seconds_per_step_ =
      step <= first_step_ + 1 ? seconds : seconds_per_step_ + kSmoothing * (seconds - seconds_per_step_);
  const bool last = step == steps_;
  const bool due = first || last || since_line_.seconds() >= kSecondsBetweenLines;
  const bool terminal = stderr_is_terminal();
  const ProgressNumbers now = numbers(step, loss);
  if (terminal && !quiet_ && (first || last || (show && since_drawn_.seconds() >= kSecondsBetweenDraws))) {
    since_drawn_.restart();
    show_progress(progress_line(now, terminal_columns() - 1));
  }
  if (!due) return;
  since_line_.restart();
  const std::string line = progress_line(now);
  terminal ? log_file_only(line) : log_info(line);  // on a terminal the redrawn line is enough
}

}  // namespace ttt
