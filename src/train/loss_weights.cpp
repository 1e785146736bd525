#include "train/loss_weights.h"

#include <ATen/ATen.h>

#include "data/dataset.h"

namespace ttt {

std::int64_t count_scored(const torch::Tensor& targets_BT, std::optional<std::int32_t> bos_id,
                          const torch::Tensor& scored_BT) {
  return scored_targets({{}, targets_BT, scored_BT}, bos_id).sum().item<std::int64_t>();
}

torch::Tensor loss_weights(const torch::Tensor& targets_BT, std::optional<std::int32_t> bos_id, LossAverage average,
                           const StepTotals& step, const torch::Tensor& given_BT) {
  const torch::Tensor scored_BT = scored_targets({{}, targets_BT, given_BT}, bos_id).to(torch::kDouble);
  torch::Tensor count = average == LossAverage::kTokens
                            ? torch::tensor(static_cast<double>(step.scored), torch::kDouble)
                            : scored_BT.sum(1, /*keepdim=*/true) * static_cast<double>(step.sequences);
  count = count.clamp_min(1.0);  // nothing scored: weights 0, not NaN
  return (scored_BT / count).to(torch::kFloat);
}

}  // namespace ttt
