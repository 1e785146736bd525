#include "sweep/branches.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "config/load.h"

namespace ttt {
namespace {

// Of runs that may share a trunk: everything but where they go and how long they are. The warm-up is judged apart.
std::string trunk_key(const SweepRun& run) {
  RunConfig config = run.config;
  config.output_dir.clear();
  config.train.steps = 1;
  config.optim.warmup_steps = 0;
  return to_yaml(config);
}

// As checkpoint/checkpoint.h names them.
fs::path checkpoint_of(const SweepRun& run, std::int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step_%08lld", static_cast<long long>(step));
  return run.folder() / "checkpoints" / name;
}

void check_schedule(const SweepRun& run, const SweepRun& trunk, const std::string& place) {
  const OptimConfig& optim = run.config.optim;
  if (optim.schedule != ScheduleKind::kWsd) {
    user_error(place, ": branches want optim.schedule: wsd; with '", run.name,
               "' (cosine) runs of several lengths have another learning rate from the start and share no trunk");
  }
  if (optim.decay_steps > 0) {
    user_error(place, ": branches decay at their own end, and '", run.name, "' has optim.decay_steps ",
               optim.decay_steps, "; leave it out");
  }
  if (optim.warmup_steps != trunk.config.optim.warmup_steps) {
    user_error(place, ": branches share a warm-up, and '", run.name, "' has optim.warmup_steps ", optim.warmup_steps,
               " where '", trunk.name, "' has ", trunk.config.optim.warmup_steps,
               " (by default a tenth of the run); give optim.warmup_steps");
  }
}

}  // namespace

void plan_branches(Sweep& sweep, const std::string& place) {
  std::map<std::string, std::vector<std::size_t>> families;
  for (const SweepRun& run : sweep.runs) families[trunk_key(run)].push_back(run.index);
  bool found = false;
  for (const auto& [key, family] : families) {
    if (family.size() < 2) continue;
    found = true;
    std::size_t longest = family.front();
    for (const std::size_t index : family)
      if (sweep.runs[index].config.train.steps > sweep.runs[longest].config.train.steps) longest = index;
    SweepRun& trunk = sweep.runs[longest];
    std::vector<std::int64_t>& kept = trunk.config.checkpoint.keep_steps;
    for (const std::size_t index : family) {
      SweepRun& run = sweep.runs[index];
      check_schedule(run, trunk, place);
      if (index == longest) continue;
      // The last step that has the peak rate in both, and after which something is left to train.
      const std::int64_t steps = run.config.train.steps;
      const std::int64_t start = steps - std::max<std::int64_t>(run.config.cooldown_steps(), 1);
      if (start < 1) continue;  // it cools down from its first step: a run of its own
      run.branch = BranchPoint{longest, trunk.name, checkpoint_of(trunk, start), start};
      kept.push_back(start);
    }
    std::sort(kept.begin(), kept.end());
    kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  }
  if (!found) user_error(place, ": branches: true finds no two runs that differ in train.steps alone; give lengths");
}

bool is_complete(const fs::path& checkpoint) {
  return fs::exists(checkpoint / "COMPLETE");
}

bool passes_over_later_samples(const fs::path& checkpoint) {
  const fs::path file = checkpoint / "state.json";
  if (!fs::is_regular_file(file)) return false;
  const Json state = Json::parse(read_file(file), nullptr, /*allow_exceptions=*/false);
  const std::int64_t cursor = state.is_object() ? state.value("cursor", std::int64_t{0}) : 0;
  const Json ranges = state.is_object() ? state.value("passed_over", Json::array()) : Json::array();
  return std::any_of(ranges.begin(), ranges.end(), [&](const Json& range) {
    return range.is_array() && range.size() == 2 && range[1].is_number() && range[1].get<std::int64_t>() > cursor;
  });
}

bool has_own_checkpoint(const SweepRun& run) {
  const fs::path root = run.folder() / "checkpoints";
  if (!fs::is_directory(root)) return false;
  return std::any_of(fs::directory_iterator(root), fs::directory_iterator(),
                     [](const auto& entry) { return is_complete(entry.path()); });
}

}  // namespace ttt
