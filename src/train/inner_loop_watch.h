// Looks at the inner-loop statistics of a training run for inner loops that run away, or stand still.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "nn/mixer.h"

namespace ttt {

class InnerLoopWatch {
 public:
  // Warnings about one layer at one step, each a sentence with layer, step and remedy. A condition is reported when it
  // begins, not again while it lasts:
  //   - a statistic is not finite;
  //   - over the last quarter of the sequence the inner loss after the step is more than 4 x the loss at W_0: learning
  //     makes it worse;
  //   - ||W_t - W_0|| at the end of the sequence is more than 10 x the median of this layer's records before (from the
  //     fifth record on);
  //   - ||W_t - W_0|| is zero all along a sequence whose learning rates are not: the scale of a mini-batch's last token,
  //     max(0, 1/C + token_scale_delta), has fallen to zero, where no gradient brings it back.
  std::vector<std::string> check(const InnerLoopStats& stats, std::int64_t step);

 private:
  enum class Condition { kNotFinite, kLossAbove, kWeightsRunAway, kStandsStill };
  std::map<std::pair<std::int64_t, Condition>, bool> lasting_;  // of (layer, condition)
  std::map<std::int64_t, std::vector<double>> weight_change_;   // at the ends of sequences, by layer, the last 100
};

}  // namespace ttt
