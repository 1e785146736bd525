#include "train/resume.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

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

const ResumeRule* rule_of(const std::string& key) {
  const auto& rules = resume_rules();
  const auto found = std::find_if(rules.begin(), rules.end(), [&](const ResumeRule& rule) {
    return rule.key.ends_with('.') ? key.starts_with(rule.key) : key == rule.key;
  });
  return found == rules.end() ? nullptr : &*found;
}

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
      {"optim.warmup_steps", kSchedule},
      {"optim.decay_steps", kSchedule},
      {"optim.cooldown_steps", kSchedule},
      {"optim.schedule", kSchedule},
      {"optim.lr", kNextStep},
      {"optim.end_lr", kNextStep},
      {"optim.beta1", kNextStep},
      {"optim.beta2", kNextStep},
      {"optim.eps", kNextStep},
      {"optim.weight_decay", kNextStep},
      {"optim.decay_on", kNextStep},
      {"optim.clip_grad_norm", kNextStep},
      {"optim.groups", kNextStep},
      {"train.steps", "the run ends elsewhere; a decay that ends there is stretched, so that the rate may jump here"},
      {"train.batch_tokens", "steps have another size from here on; samples go on where they were"},
      {"train.micro_batch", kRounding},
      {"train.threads", kRounding},
      {"train.dtype", kRounding},
      {"train.bf16_products", kRounding},
      {"train.device", kRounding},
      {"train.kernels", kRounding},
      {"train.ttt_kernel", kRounding},
      {"train.recompute", kNoEffect},
      {"train.deterministic", "on a GPU the result differs by rounding, from run to run where it is false"},
      {"train.cuda_graph", kNoEffect},
      {"train.reset_at_documents", "documents are told apart, or not, from here on"},
      {"train.log_every", kLogging},
      {"train.eval_every", kLogging},
      {"train.eval_samples", kValidation},
      {"train.eval_inner_lr_scales", kLogging},
      {"train.position_loss_every", kLogging},
      {"train.stats_every", kLogging},
      {"train.digest_every", kLogging},
      {"train.tensorboard", kLogging},
      {"train.sample_tokens", kLogging},
      {"train.max_skipped_steps", kFromHere},
      {"train.max_rollbacks", kFromHere},
      {"train.spike_deviations", kFromHere},
      {"train.watchdog_seconds", kNoEffect},
      {"profile.first_step", kNoEffect},
      {"profile.steps", kNoEffect},
      {"checkpoint.every", kLogging},
      {"checkpoint.keep_last", kLogging},
      {"checkpoint.keep_every", kLogging},
      {"checkpoint.async", kLogging},
      {"dist.reduce_dtype", kRounding},
      {"dist.timeout_seconds", kNoEffect},
      {"dist.zero", kNoEffect},
      {"data.train", "the same data in another place"},
      {"data.valid", kValidation},
      {"output_dir", "the run has moved"},
      {"init_from", kNoEffect},
      {"tokenizer", kNoEffect},
  };
  return rules;
}

std::optional<ResumePoint> find_resume_point(const std::filesystem::path& root) {
  auto folders = list_step_folders(root);
  ResumePoint point;
  for (; !folders.empty(); folders.pop_back()) {
    point.directory = folders.back().second;
    try {
      point.checkpoint = read_checkpoint(point.directory, CheckpointParts::kAll);
      return point;
    } catch (const DamagedCheckpoint& damage) {
      point.damaged.emplace_back(point.directory, damage.what());
    }
  }
  if (point.damaged.empty()) return std::nullopt;
  std::string what = point.damaged.front().second;
  what = what.substr(0, what.rfind("; "));  // its advice
  user_error(what, point.damaged.size() == 1 ? "; there is no other one" : "; those before it are damaged too",
             ", so that the run cannot be resumed; put a whole copy in its place, or move '", root.string(),
             "' away to start the run again from the beginning");
}

void set_aside_damaged(const ResumePoint& point) {
  for (const auto& [folder, what] : point.damaged) {
    const std::filesystem::path place = set_aside(folder);
    log_warn(cat(what.substr(0, what.rfind("; ")), "; it is kept as '", place.string(),
                 "', and the run falls back to '", point.directory.string(), "'"));
  }
}

std::vector<std::string> check_resumed_config(const RunConfig& old_config, const RunConfig& new_config) {
  std::vector<std::string> allowed;
  std::string refused;
  for (const FieldDifference& difference : diff(old_config, new_config)) {
    const auto shown = [](const std::string& value) { return value.empty() ? std::string("nothing") : value; };
    const ResumeRule* rule = rule_of(difference.key);
    if (rule != nullptr && rule->may_change()) {
      allowed.push_back(
          cat(difference.key, " was ", shown(difference.a), ", now ", shown(difference.b), ": ", rule->meaning));
    } else {
      refused += cat(refused.empty() ? "" : ", ", difference.key, " (was ", shown(difference.a), ", now ",
                     shown(difference.b), ")");
    }
  }
  if (!refused.empty()) {
    user_error("the run in '", new_config.output_dir, "' cannot go on with another ", refused,
               "; set the old value to resume it, or choose another output_dir for a new run");
  }
  return allowed;
}

}  // namespace ttt
