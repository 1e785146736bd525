// Learning-rate schedules: pure functions of the step.
#pragma once

#include <cstdint>

#include "config/run_config.h"

namespace ttt {

// Linear warm-up from 0 to the peak, then
//
//     t < warmup:   peak t / warmup
//     cosine        end + (peak - end) (1 + cos(pi min(1, (t - warmup) / (decay - warmup)))) / 2
//                   (optax's warmup_cosine_decay_schedule)
//     wsd           peak until decay - cooldown, then linearly to end (warm-up, stable, decay: arXiv 2404.06395)
//
// decay_steps counts from 0, the warm-up included; after it the rate stays at end_lr.
struct Schedule {
  ScheduleKind kind = ScheduleKind::kCosine;
  double peak = 0, end = 0;
  std::int64_t warmup_steps = 0, decay_steps = 0;
  std::int64_t cooldown_steps = 0;  // wsd

  // The rate after t updates. Update k (from 1) uses rate(k - 1), so that the first one of a warm-up has rate 0.
  double rate(std::int64_t t) const;
};

Schedule schedule_of(const RunConfig& config);

// The factor on the TTT layers' inner learning rate at step k (from 1), its own linear warm-up:
//
//     (init + min(1, (k - 1) / warmup) (peak - init)) / peak
//
// 1 without an inner warm-up. With parity: ttt-lm-jax it is rounded to bf16, as the official code does.
double ttt_lr_multiplier(const RunConfig& config, std::int64_t step);

}  // namespace ttt
