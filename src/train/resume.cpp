#include "train/resume.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/log.h"

namespace ttt {
namespace {

// What may change between a checkpoint and the run that goes on from it, and what that means. A key, or a whole section
// where it ends with a dot; the first that fits holds.
struct Change {
  std::string_view key, meaning;
};
constexpr std::string_view kNoEffect = "no effect on the result";
constexpr std::string_view kLogging = "no effect on the model";
constexpr std::string_view kRounding = "the result differs by rounding";
constexpr Change kMayChange[] = {
    {"optim.warmup_steps", "the schedule is the new one as if from the start: the rate may jump here"},
    {"optim.decay_steps", "the schedule is the new one as if from the start: the rate may jump here"},
    {"optim.cooldown_steps", "the schedule is the new one as if from the start: the rate may jump here"},
    {"optim.schedule", "the schedule is the new one as if from the start: the rate may jump here"},
    {"optim.", "holds from the next step on; the moments are kept"},
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
    {"train.eval_samples", "validation losses compare only with those from here on"},
    {"train.position_loss_every", kLogging},
    {"train.eval_inner_lr_scales", kLogging},
    {"train.stats_every", kLogging},
    {"train.digest_every", kLogging},
    {"train.tensorboard", kLogging},
    {"train.sample_tokens", kLogging},
    {"train.max_skipped_steps", "holds from the next step on"},
    {"train.max_rollbacks", "holds from the next step on"},
    {"train.spike_deviations", "holds from the next step on"},
    {"train.watchdog_seconds", kNoEffect},
    {"profile.", kNoEffect},
    {"checkpoint.", kLogging},
    {"dist.reduce_dtype", kRounding},
    {"dist.", kNoEffect},
    {"data.train", "the same data in another place"},
    {"data.valid", "validation losses compare only with those from here on"},
    {"output_dir", "the run has moved"},
    {"init_from", kNoEffect},
    {"tokenizer", kNoEffect},
};

const Change* change_of(const std::string& key) {
  const auto found = std::find_if(std::begin(kMayChange), std::end(kMayChange), [&](const Change& change) {
    return change.key.ends_with('.') ? key.starts_with(change.key) : key == change.key;
  });
  return found == std::end(kMayChange) ? nullptr : found;
}

}  // namespace

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
    if (const Change* change = change_of(difference.key)) {
      allowed.push_back(
          cat(difference.key, " was ", shown(difference.a), ", now ", shown(difference.b), ": ", change->meaning));
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
