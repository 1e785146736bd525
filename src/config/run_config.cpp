// Cross-field rules of a training run.
#include "config/run_config.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.h"

namespace ttt {

std::int64_t RunConfig::micro_batch(std::int64_t ranks) const {
  if (train.micro_batch > 0) return train.micro_batch;
  constexpr std::int64_t kMicroBatchTokens = 8192;
  const std::int64_t sequences = sequences_per_step() / ranks;
  std::int64_t largest = 1;
  for (std::int64_t n = 1; n <= sequences && n * train.context <= kMicroBatchTokens; ++n) {
    if (sequences % n == 0) largest = n;
  }
  return largest;
}

void validate(const RunConfig& config) {
  validate_settings(config);
  if (config.data.train.empty())
    user_error("data.train is missing; give the folder that `ttt prepare` wrote, as in 'data: {train: DIR}'");
  if (config.output_dir.empty()) user_error("output_dir is missing; give the folder that the run may write to");
}

void validate_settings(const RunConfig& config) {
  validate(config.model);
  const TrainConfig& train = config.train;
  if (train.batch_tokens % train.context != 0) {
    const std::int64_t below = train.batch_tokens / train.context * train.context;
    user_error("train.batch_tokens ", train.batch_tokens, " is not a multiple of train.context ", train.context,
               "; use ", below > 0 ? cat(below, " or ", below + train.context) : std::to_string(train.context));
  }
  if (train.steps > std::numeric_limits<std::int64_t>::max() / train.batch_tokens) {
    user_error("train.steps ", train.steps, " of train.batch_tokens ", train.batch_tokens,
               " are more tokens than can be counted; take fewer steps");
  }
  const std::int64_t sequences = config.sequences_per_step();
  if (train.micro_batch > 0 && sequences % train.micro_batch != 0) {
    user_error("a step has ", sequences, " sequences (train.batch_tokens / train.context), which train.micro_batch ",
               train.micro_batch, " does not divide; use a divisor of ", sequences, ", or 0 to let the program choose");
  }
  if (!config.model.has_ttt() && (train.inner_lr_scale != 1 || !train.eval_inner_lr_scales.empty())) {
    user_error("train.", train.inner_lr_scale != 1 ? "inner_lr_scale" : "eval_inner_lr_scales",
               " is about TTT layers, and the model has none (its mixer is ", to_string(config.model.mixer),
               "); leave it out");
  }
  const OptimConfig& optim = config.optim;
  if (optim.warmup_steps > config.decay_steps()) {
    user_error("optim.warmup_steps ", optim.warmup_steps, " is more than the ", config.decay_steps(),
               " steps after which the decay ends (", optim.decay_steps > 0 ? "optim.decay_steps" : "train.steps",
               "); shorten the warm-up");
  }
  if (optim.schedule == ScheduleKind::kWsd && optim.warmup_steps + config.cooldown_steps() > config.decay_steps()) {
    user_error("optim.warmup_steps ", optim.warmup_steps, " and optim.cooldown_steps ", config.cooldown_steps(),
               " are more than the ", config.decay_steps(), " steps of the schedule; shorten one of them");
  }
  for (const ParameterGroup& group : optim.groups) {
    if (group.lr >= 0 && optim.lr == 0) {
      user_error("optim.groups gives '", group.match,
                 "' a learning rate, but optim.lr, which the schedule scales, is 0; ",
                 "give optim.lr a positive value");
    }
  }
  if (const auto& kept = config.checkpoint.keep_steps; !kept.empty() && kept.back() > train.steps) {
    user_error("checkpoint.keep_steps has step ", kept.back(), ", and the run ends after ", train.steps,
               " (train.steps); remove it, or train longer");
  }
  if (optim.end_lr > optim.lr) {
    user_error("optim.end_lr ", optim.end_lr, " is above the peak, optim.lr ", optim.lr, "; lower it");
  }
}

void check_shares(const RunConfig& config, std::int64_t ranks) {
  const std::int64_t sequences = config.sequences_per_step(), context = config.train.context;
  const std::int64_t unit = ranks * std::max<std::int64_t>(config.train.micro_batch, 1);
  if (sequences % unit == 0) return;
  const std::int64_t below = sequences / unit * unit;
  user_error("train.batch_tokens ", config.train.batch_tokens, " makes ", sequences, " sequences a step, which ", ranks,
             " processes",
             config.train.micro_batch > 1 ? cat(" in micro-batches of ", config.train.micro_batch) : std::string(),
             " cannot share evenly; use train.batch_tokens ", below > 0 ? cat(below * context, " or ") : std::string(),
             (below + unit) * context,
             config.train.micro_batch > 1 && sequences % ranks == 0 ? ", another train.micro_batch (0: chosen)" : "",
             ", or another number of processes");
}

}  // namespace ttt
