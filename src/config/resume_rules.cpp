#include "config/resume_rules.h"

#include <algorithm>

namespace ttt {
namespace {

constexpr const char* kNoEffect = "no effect on the result";
constexpr const char* kLogging = "no effect on the model";
constexpr const char* kRounding = "the result differs by rounding";
constexpr const char* kSchedule = "the schedule is the new one as if from the start: the rate may jump here";
constexpr const char* kNextStep = "holds from the next step on; the moments are kept";
constexpr const char* kFromHere = "holds from the next step on";
constexpr const char* kValidation = "validation losses compare only with those from here on";
constexpr const char* kAnotherRun = "";  // refused
constexpr InBranch kScheduled = InBranch::kSchedule, kFree = InBranch::kMayDiffer;

}  // namespace

const std::vector<ResumeRule>& resume_rules() {
  static const std::vector<ResumeRule> rules = {
      {"model.", kAnotherRun},
      {"data.order", kAnotherRun},
      {"train.context", kAnotherRun},
      {"train.seed", kAnotherRun},
      {"train.loss_average", kAnotherRun},
      {"train.inner_lr_scale", kAnotherRun},
      {"parity", kAnotherRun},
      {"optim.warmup_steps", kSchedule, kScheduled},
      {"optim.decay_steps", kSchedule, kScheduled},
      {"optim.cooldown_steps", kSchedule, kScheduled},
      {"optim.schedule", kSchedule, kScheduled},
      {"optim.lr", kNextStep},
      {"optim.end_lr", kNextStep, kScheduled},
      {"optim.beta1", kNextStep},
      {"optim.beta2", kNextStep},
      {"optim.eps", kNextStep},
      {"optim.weight_decay", kNextStep},
      {"optim.decay_on", kNextStep},
      {"optim.clip_grad_norm", kNextStep},
      {"optim.groups", kNextStep},
      {"train.steps", "the run ends elsewhere; a decay that ends there is stretched, so that the rate may jump here",
       kScheduled},
      {"train.batch_tokens", "steps have another size from here on; samples go on where they were"},
      {"train.micro_batch", kRounding, kFree},
      {"train.threads", kRounding, kFree},
      {"train.dtype", kRounding, kFree},
      {"train.bf16_products", kRounding, kFree},
      {"train.device", kRounding, kFree},
      {"train.kernels", kRounding, kFree},
      {"train.ttt_kernel", kRounding, kFree},
      {"train.self_check", "where a row fails it, the result differs by rounding", kFree},
      {"train.recompute", kNoEffect, kFree},
      {"train.deterministic", "on a GPU the result differs by rounding, from run to run where it is false", kFree},
      {"train.cuda_graph", kNoEffect, kFree},
      {"train.reset_at_documents", "documents are told apart, or not, from here on"},
      {"train.log_every", kLogging, kFree},
      {"train.eval_every", kLogging, kFree},
      {"train.eval_samples", kValidation, kFree},
      {"train.eval_inner_lr_scales", kLogging, kFree},
      {"train.position_loss_every", kLogging, kFree},
      {"train.stats_every", kLogging, kFree},
      {"train.digest_every", kLogging, kFree},
      {"train.tensorboard", kLogging, kFree},
      {"train.sample_tokens", kLogging, kFree},
      {"train.max_skipped_steps", kFromHere},
      {"train.max_rollbacks", kFromHere},
      {"train.spike_deviations", kFromHere},
      {"train.watchdog_seconds", kNoEffect, kFree},
      {"profile.first_step", kNoEffect, kFree},
      {"profile.steps", kNoEffect, kFree},
      {"checkpoint.every", kLogging, kFree},
      {"checkpoint.keep_last", kLogging, kFree},
      {"checkpoint.keep_every", kLogging, kFree},
      {"checkpoint.keep_steps", kLogging, kFree},
      {"checkpoint.async", kLogging, kFree},
      {"dist.reduce_dtype", kRounding, kFree},
      {"dist.timeout_seconds", kNoEffect, kFree},
      {"dist.heartbeat_seconds", kNoEffect, kFree},
      {"dist.zero", kNoEffect, kFree},
      {"data.train", "the same data in another place", kFree},
      {"data.valid", kValidation, kFree},
      {"output_dir", "the run has moved", kFree},
      {"init_from", kNoEffect},
      {"branch_from", kNoEffect, kFree},
      {"tokenizer", kNoEffect, kFree},
  };
  return rules;
}

const ResumeRule* rule_of(const std::string& key) {
  const auto& rules = resume_rules();
  const auto found = std::find_if(rules.begin(), rules.end(), [&](const ResumeRule& rule) {
    return rule.key.ends_with('.') ? key.starts_with(rule.key) : key == rule.key;
  });
  return found == rules.end() ? nullptr : &*found;
}

}  // namespace ttt
