#include "optim/schedule.h"

#include <c10/util/BFloat16.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ttt {

Schedule schedule_of(const RunConfig& config) {
  return {config.optim.schedule,     config.optim.lr,      config.optim.end_lr,
          config.optim.warmup_steps, config.decay_steps(), config.cooldown_steps()};
}

double Schedule::rate(std::int64_t t) const {
  if (t < warmup_steps) return peak * static_cast<double>(t) / static_cast<double>(warmup_steps);
  if (kind == ScheduleKind::kWsd) {
    const std::int64_t left = decay_steps - t;
    if (left >= cooldown_steps && left > 0) return peak;
    return left <= 0 ? end : end + (peak - end) * static_cast<double>(left) / static_cast<double>(cooldown_steps);
  }
  const std::int64_t length = decay_steps - warmup_steps;
  if (t - warmup_steps >= length) return end;
  const double progress = static_cast<double>(t - warmup_steps) / static_cast<double>(length);
  return end + (peak - end) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

double ttt_lr_multiplier(const RunConfig& config, std::int64_t step) {
  if (!config.model.has_ttt()) return 1.0;
  const double peak = config.model.resolved_ttt_base_lr();
  const double init = config.model.resolved_ttt_base_lr_init();
  const std::int64_t warmup = config.ttt_warmup_steps();
  const double progress = warmup > 0 ? std::min(1.0, static_cast<double>(step - 1) / static_cast<double>(warmup)) : 1.0;
  const double multiplier = (init + progress * (peak - init)) / peak;
  if (config.parity != Parity::kTttLmJax) return multiplier;
  return static_cast<double>(static_cast<float>(c10::BFloat16(static_cast<float>(multiplier))));
}

}  // namespace ttt
