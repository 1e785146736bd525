#include "train/step_profile.h"

#include <torch/csrc/autograd/profiler_kineto.h>

#include <cstdio>
#include <cstdlib>
#include <set>

#include "base/error.h"
#include "base/log.h"

namespace ttt {
namespace {

using torch::profiler::impl::ActivityType;

}  // namespace

StepProfile::StepProfile(const ProfileConfig& config, const std::filesystem::path& folder, int rank, bool cuda)
    : config_(config), folder_(folder), rank_(rank), cuda_(cuda) {}

StepProfile::~StepProfile() {
  if (recording_) write();
}

void StepProfile::begin(std::int64_t step) {
  if (config_.first_step == 0 || step != config_.first_step) return;
  if (!cuda_) setenv("KINETO_LOG_LEVEL", "99", /*overwrite=*/0);  // else it reports that there is no GPU as an error
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  std::set<ActivityType> activities = {ActivityType::CPU};
  if (cuda_) activities.insert(ActivityType::CUDA);
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities);
  recording_ = true;
}

void StepProfile::end(std::int64_t step) {
  if (recording_ && step >= config_.first_step + config_.steps - 1) write();
}

void StepProfile::write() noexcept {
  recording_ = false;
  char name[64];
  std::snprintf(name, sizeof name, "trace-step%08lld-rank%d.json", static_cast<long long>(config_.first_step), rank_);
  const std::filesystem::path path = folder_ / name;
  try {
    torch::autograd::profiler::disableProfiler()->save(path);
    log_info(cat("profile: '", path.string(), "' (open it in ui.perfetto.dev or chrome://tracing)"));
  } catch (const std::exception& error) {
    log_warn(cat("profile: '", path.string(), "' was not written: ", error.what()));
  }
}

}  // namespace ttt
