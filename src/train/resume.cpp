#include "train/resume.h"

#include "base/error.h"
#include "base/log.h"
#include "optim/schedule.h"

namespace ttt {
namespace {

std::string shown(const std::string& value) {
  return value.empty() ? std::string("nothing") : value;
}

// Where two runs' learning rates part, before `step`.
void check_rates(const RunConfig& trunk, const RunConfig& branch, std::int64_t step) {
  const Schedule a = schedule_of(trunk), b = schedule_of(branch);
  for (std::int64_t t = 0; t < step; ++t) {
    const bool outer = a.rate(t) != b.rate(t);
    if (!outer && ttt_lr_multiplier(trunk, t + 1) == ttt_lr_multiplier(branch, t + 1)) continue;
    user_error("branch_from '", branch.branch_from, "' is of step ", step, ", and the ", outer ? "" : "inner ",
               "learning rate of step ", t + 1, " was another",
               outer ? cat(" (", a.rate(t), ", here ", b.rate(t), ")") : std::string(),
               "; branch off from a checkpoint before that step, or give both runs the same schedule up to there");
  }
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

ResumePoint find_branch_point(const std::filesystem::path& directory) {
  if (!std::filesystem::is_directory(directory)) {
    const std::string near = nearest_path(directory);
    user_error("branch_from '", directory.string(), "' is no checkpoint folder; name one, such as RUN/checkpoints/",
               "step_00001000", near.empty() ? "" : cat(" (did you mean '", near, "'?)"));
  }
  ResumePoint point;
  point.directory = directory;
  point.is_branch = true;
  point.checkpoint = read_checkpoint(directory, CheckpointParts::kAll);
  if (point.checkpoint.state.is_null())
    user_error("branch_from '", directory.string(),
               "' has a model and no training state to go on from; use it as init_from instead");
  return point;
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

std::vector<std::string> check_branch_config(const RunConfig& trunk, const RunConfig& branch, std::int64_t step) {
  std::vector<std::string> allowed;
  std::string refused;
  for (const FieldDifference& difference : diff(trunk, branch)) {
    const ResumeRule* rule = rule_of(difference.key);
    if (rule == nullptr || rule->in_branch == InBranch::kSame) {
      refused += cat(refused.empty() ? "" : ", ", difference.key, " (there ", shown(difference.a), ", here ",
                     shown(difference.b), ")");
    } else if (difference.key != "output_dir" && difference.key != "branch_from") {
      const bool scheduled = rule->in_branch == InBranch::kSchedule;
      allowed.push_back(cat(difference.key, " was ", shown(difference.a), ", now ", shown(difference.b), ": ",
                            scheduled ? "no rate before this step is another for it" : rule->meaning));
    }
  }
  if (!refused.empty()) {
    user_error("branch_from '", branch.branch_from, "' is of a run with another ", refused,
               "; a branch must have been the same run up to there: set the trunk's value, or leave out branch_from");
  }
  if (step >= branch.train.steps) {
    user_error("branch_from '", branch.branch_from, "' is of step ", step, ", and this run ends after ",
               branch.train.steps, " (train.steps); branch off from an earlier checkpoint, or train longer");
  }
  check_rates(trunk, branch, step);
  return allowed;
}

}  // namespace ttt
