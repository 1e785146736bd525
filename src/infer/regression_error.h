// In-context linear regression (the task of data/task_algebra.cpp): how far the model is from y after so many points,
// beside what least squares on these points gives.
//
//     model          y^ = sum over bins of p(bin) * its middle
//     least squares  w^ = argmin |X w - y| over the points before, the shortest of them where they do not tell
//                    (Garg et al., arXiv 2208.01066); y^ = w^ . x
//
// Errors are squares of y^ - y, both as the middles of bins; y has variance 1.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "base/json.h"

namespace ttt {

struct RegressionErrors {
  std::int64_t samples = 0;
  std::vector<double> model, least_squares;  // means, by number of points before
};

class RegressionSums {
 public:
  // `task`: of the data set; nothing for another task.
  static std::optional<RegressionSums> of(const Json& task);

  // A whole sample's tokens, and what the model expects at each y, in order.
  void add(const std::vector<std::int32_t>& tokens, const std::vector<double>& expected);
  RegressionErrors means() const;

 private:
  std::int64_t dimension_ = 0, points_ = 0, samples_ = 0;
  std::vector<double> model_, least_squares_;
};

// logits [N,V] of the places whose targets are y -> the expected value of each [N], fp64 on the CPU.
torch::Tensor expected_values(const torch::Tensor& logits_NV);

Json to_json(const RegressionErrors& errors);

}  // namespace ttt
