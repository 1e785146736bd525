#include "train/loss_trend.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ttt {
namespace {

constexpr std::int64_t kSteps = 50;

}  // namespace

double LossTrend::spike_limit(double deviations) const {
  if (count_ < kSteps) return std::numeric_limits<double>::infinity();
  return mean_ + deviations * std::max(std::sqrt(variance_), 0.01 * std::abs(mean_));
}

void LossTrend::add(double loss) {
  ++count_;
  const double share = 1.0 / static_cast<double>(std::min(count_, kSteps)), difference = loss - mean_;
  mean_ += share * difference;
  variance_ = (1 - share) * (variance_ + share * difference * difference);
}

Json to_json(const LossTrend& trend) {
  return {{"count", trend.count_}, {"mean", trend.mean_}, {"variance", trend.variance_}};
}

LossTrend loss_trend_from_json(const Json& json) {
  LossTrend trend;
  json.at("count").get_to(trend.count_);
  json.at("mean").get_to(trend.mean_);
  json.at("variance").get_to(trend.variance_);
  return trend;
}

}  // namespace ttt
