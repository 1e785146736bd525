// What loss is usual for a run at the moment, so that a spike stands out.
#pragma once

#include <cstdint>

#include "base/json.h"

namespace ttt {

// Running mean and variance of the steps' losses, the last 50 or so counting most. Part of the run's state: a resumed
// run judges as the one that was never stopped.
class LossTrend {
 public:
  // The loss above which a step is a spike: `deviations` standard deviations above the mean; infinite in the first 50
  // steps. The deviation is taken as at least a hundredth of the mean: where losses hardly vary, their noise is no spike.
  double spike_limit(double deviations) const;
  void add(double loss);

  bool operator==(const LossTrend&) const = default;

 private:
  friend Json to_json(const LossTrend& trend);
  friend LossTrend loss_trend_from_json(const Json& json);
  std::int64_t count_ = 0;
  double mean_ = 0, variance_ = 0;
};

// {"count", "mean", "variance"}; throws Json::exception where it is something else.
Json to_json(const LossTrend& trend);
LossTrend loss_trend_from_json(const Json& json);

}  // namespace ttt
