#include "train/loss_weights.h"

#include <ATen/ATen.h>

namespace ttt {

torch::Tensor loss_weights(const torch::Tensor& targets_BT, std::optional<std::int32_t> bos_id, LossAverage average) {
  const torch::Tensor scored_BT =
      bos_id ? targets_BT.ne(*bos_id).to(torch::kDouble) : torch::ones(targets_BT.sizes(), torch::kDouble);
  torch::Tensor count = average == LossAverage::kTokens
                            ? scored_BT.sum()
                            : scored_BT.sum(1, /*keepdim=*/true) * static_cast<double>(targets_BT.size(0));
  count = count.clamp_min(1.0);  // nothing scored: weights 0, not NaN
  return (scored_BT / count).to(torch::kFloat);
}

}  // namespace ttt
