// Learning-rate schedules: pure functions of the step.
#pragma once

#include <cstdint>

#include "config/run_config.h"

namespace ttt {

// Linear warm-up from 0 to the peak, then a cosine to `end_lr` (optax's warmup_cosine_decay_schedule):
//
//     t < warmup:   peak t / warmup
//     else          end + (peak - end) (1 + cos(pi min(1, (t - warmup) / (decay - warmup)))) / 2
//
// decay_steps counts from 0, the warm-up included; after it the rate stays at end_lr.
struct WarmupCosine {
  double peak = 0, end = 0;
  std::int64_t warmup_steps = 0, decay_steps = 0;

  explicit WarmupCosine(const RunConfig& config);
  WarmupCosine(double peak_lr, double end_lr, std::int64_t warmup, std::int64_t decay)
      : peak(peak_lr), end(end_lr), warmup_steps(warmup), decay_steps(decay) {}

  // The rate after t updates. Update k (from 1) uses rate(k - 1), so that the first one of a warm-up has rate 0.
  double rate(std::int64_t t) const;
};

// The factor on the TTT layers' inner learning rate at step k (from 1), its own linear warm-up:
//
//     (init + min(1, (k - 1) / warmup) (peak - init)) / peak
//
// 1 without an inner warm-up. With parity: ttt-lm-jax it is rounded to bf16, as the official code does.
double ttt_lr_multiplier(const RunConfig& config, std::int64_t step);

}  // namespace ttt
