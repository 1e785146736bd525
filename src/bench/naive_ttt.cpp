#include "bench/naive_ttt.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "ops/ttt_inner.h"

namespace ttt {

at::Tensor naive_ttt(const TttNet& net, const TttInputs& inputs, const TttWeights& initial,
                     std::int64_t mini_batch_size) {
  const std::int64_t B = inputs.q_BHTK.size(0), T = inputs.q_BHTK.size(2);
  const auto by_head = [](const at::Tensor& x_BHT) { return x_BHT.flatten(0, 1); };    // [B*H,T,...]
  const auto per_head = [&](const at::Tensor& w_H) { return w_H.repeat({B, 1, 1}); };  // [B*H,...] of [H,...,...]
  const at::Tensor q = by_head(inputs.q_BHTK), k = by_head(inputs.k_BHTK), sigma = by_head(inputs.sigma_BHT);
  const at::Tensor target = inner_target(net, k, by_head(inputs.v_BHTK));
  const InnerNorm norm{per_head(inputs.gain_HK.unsqueeze(1)), per_head(inputs.bias_HK.unsqueeze(1))};
  TttWeights weights;
  for (const at::Tensor& w : initial) weights.push_back(per_head(w));

  std::vector<at::Tensor> outputs;
  for (std::int64_t begin = 0; begin < T; begin += mini_batch_size) {
    const std::int64_t tokens = std::min(mini_batch_size, T - begin);
    const auto part = [&](const at::Tensor& x) { return x.narrow(1, begin, tokens); };
    const at::Tensor rates = inner_rates(inputs.scale_C.narrow(0, 0, tokens), part(sigma));
    const InnerKeys keys = inner_gradient(net, part(k), part(target), weights, norm);
    outputs.push_back(inner_output(net, part(q), rates, keys.x, keys.g, weights, norm).o);
    if (tokens == mini_batch_size) weights = inner_update(weights, keys.x, keys.g, rates.select(1, tokens - 1));
  }
  return at::cat(outputs, 1).view(inputs.q_BHTK.sizes());
}

}  // namespace ttt
