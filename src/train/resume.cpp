#include "train/resume.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "checkpoint/checkpoint.h"

namespace ttt {
namespace {

// A key, or a whole section where it ends with a dot.
constexpr std::string_view kMayChange[] = {
    "optim.",
    "checkpoint.",
    "train.steps",
    "train.micro_batch",
    "train.threads",
    "train.dtype",
    "train.device",
    "train.log_every",
    "train.eval_every",
    "train.eval_batches",
    "train.stats_every",
    "train.tensorboard",
    "train.sample_tokens",
    "data.train",
    "data.valid",
    "output_dir",
    "init_from",
    "tokenizer",
};

bool may_change(const std::string& key) {
  return std::any_of(std::begin(kMayChange), std::end(kMayChange), [&](std::string_view allowed) {
    return allowed.ends_with('.') ? key.starts_with(allowed) : key == allowed;
  });
}

}  // namespace

std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& root) {
  const auto complete = list_checkpoints(root);
  std::optional<std::filesystem::path> newest;
  if (!complete.empty()) newest = complete.back().second;
  if (!std::filesystem::is_directory(root)) return newest;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("step_") || name.find('.') != std::string::npos || !entry.is_directory()) continue;
    if (std::filesystem::exists(entry.path() / "COMPLETE")) continue;
    if (newest && name < newest->filename().string()) continue;
    user_error("cannot resume from '", entry.path().string(), "': it has no file COMPLETE",
               fall_back_advice(root, entry.path()));
  }
  return newest;
}

std::string fall_back_advice(const std::filesystem::path& root, const std::filesystem::path& damaged) {
  std::string before;
  for (const auto& [step, path] : list_checkpoints(root)) {
    if (path.filename() < damaged.filename()) before = path.filename().string();
  }
  return cat("; move the folder '", damaged.string(), "' away to ",
             before.empty() ? std::string("start the run again from the beginning") : "resume from " + before);
}

std::vector<FieldDifference> check_resumed_config(const RunConfig& old_config, const RunConfig& new_config) {
  std::vector<FieldDifference> allowed;
  std::string refused;
  for (const FieldDifference& difference : diff(old_config, new_config)) {
    if (may_change(difference.key)) {
      allowed.push_back(difference);
    } else {
      refused += cat(refused.empty() ? "" : ", ", difference.key, " (was ", difference.a, ", now ", difference.b, ")");
    }
  }
  if (!refused.empty()) {
    user_error("the run in '", new_config.output_dir, "' cannot go on with another ", refused,
               "; set the old value to resume it, or choose another output_dir for a new run");
  }
  return allowed;
}

}  // namespace ttt
