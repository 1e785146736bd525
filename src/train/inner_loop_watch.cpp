#include "train/inner_loop_watch.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "base/error.h"

namespace ttt {
namespace {

constexpr double kLossFactor = 4, kWeightFactor = 10;
constexpr std::size_t kRecordsBefore = 4, kRecordsKept = 100;

bool is_finite(const torch::Tensor& values) {
  return !values.defined() || at::isfinite(values).all().item<bool>();
}

double mean_of_last_quarter(const torch::Tensor& values) {
  const auto n = values.size(0), count = std::max<std::int64_t>(1, n / 4);
  return values.narrow(0, n - count, count).to(torch::kDouble).mean().item<double>();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::vector<std::string> InnerLoopWatch::check(const InnerLoopStats& stats, std::int64_t step) {
  std::vector<std::string> warnings;
  const auto report = [&](Condition condition, bool holds, const auto& sentence) {
    bool& lasting = lasting_[{stats.layer, condition}];
    if (holds && !lasting) warnings.push_back(cat("layer ", stats.layer, ", step ", step, ": ", sentence()));
    lasting = holds;
  };
  const bool finite = is_finite(stats.loss_w0) && is_finite(stats.loss_before) && is_finite(stats.loss_after) &&
                      is_finite(stats.weight_change);
  report(Condition::kNotFinite, !finite, [] { return "the inner loop is not finite; lower model.ttt_base_lr"; });
  if (!finite || stats.loss_after.size(0) == 0) return warnings;

  const double after = mean_of_last_quarter(stats.loss_after), at_w0 = mean_of_last_quarter(stats.loss_w0);
  report(Condition::kLossAbove, after > kLossFactor * at_w0, [&] {
    return cat("the inner loss after the step is ", after, ", above the ", at_w0,
               " of the initial weights: the inner loop runs away; lower model.ttt_base_lr");
  });

  const double change = stats.weight_change.select(0, -1).item<double>();
  const bool learns = stats.sigma.defined() && stats.sigma.max().item<double>() > 0;
  // A sequence's last mini-batch may be a short one, which ends on a token with another scale.
  const std::int64_t whole = std::max<std::int64_t>(1, stats.weight_change.size(0) - 1);
  const double farthest = stats.weight_change.narrow(0, 0, whole).abs().max().item<double>();
  report(Condition::kStandsStill, learns && farthest == 0, [] {
    return "the inner weights do not move any more: the scale of a mini-batch's last token has fallen to zero, where "
           "no gradient brings it back; go back to a checkpoint before, with a lower optim.lr, or one for these "
           "scales alone: optim.groups: [{match: \"*.token_scale_delta\", lr: ...}]";
  });
  std::vector<double>& before = weight_change_[stats.layer];
  report(Condition::kWeightsRunAway, before.size() >= kRecordsBefore && change > kWeightFactor * median(before), [&] {
    return cat("the inner weights end ", change, " from where they start, ", median(before),
               " was usual before: they run away; lower model.ttt_base_lr or optim.lr");
  });
  before.push_back(change);
  if (before.size() > kRecordsKept) before.erase(before.begin());
  return warnings;
}

}  // namespace ttt
