// Statistics of the inner loop (the paper's figures of the inner loss along a sequence).
//
// Shapes: B batch, H heads, T time, K head size, C mini-batch.
#include <ATen/ATen.h>

#include "base/error.h"
#include "ops/ttt_inner.h"
#include "ops/ttt_kernels.h"

namespace ttt {

// The loss after a mini-batch of R rows is taken at W - (s_{R-1} sigma (.) K)^T G: the weights that the output of its
// last token was computed with in the dual form. For a full mini-batch (R = C) that is W_t, the state which the next
// mini-batch starts from; a short last one rewrites no state, and this is what its tokens have learned so far.
TttStats ttt_statistics(const TttNet& net, const TttInputs& inputs, const TttWeights& initial,
                        std::int64_t mini_batch_size) {
  check_ttt_arguments(net, inputs, initial, mini_batch_size, 0);
  const at::NoGradGuard no_grad;
  const std::int64_t batch = inputs.q_BHTK.size(0), time = inputs.q_BHTK.size(2);
  const TttWeights start = ttt_initial_state(initial, batch, mini_batch_size).weights;
  const InnerNorm norm{inputs.gain_HK.unsqueeze(1), inputs.bias_HK.unsqueeze(1)};

  TttWeights weights = start;
  std::vector<at::Tensor> loss_w0, loss_before, loss_after, weight_change;
  for (std::int64_t t = 0; t < time; t += mini_batch_size) {
    const std::int64_t rows = std::min(mini_batch_size, time - t);
    const at::Tensor k = inputs.k_BHTK.narrow(2, t, rows);
    const at::Tensor target = inner_target(net, k, inputs.v_BHTK.narrow(2, t, rows));
    const auto last = [&](const at::Tensor& x) { return x.narrow(2, rows - 1, 1); };
    const auto loss = [&](const TttWeights& w) {
      return (inner_model(net, last(k), w, norm) - last(target)).square().mean();
    };
    loss_w0.push_back(loss(start));
    loss_before.push_back(loss(weights));
    const at::Tensor sigma = inputs.sigma_BHT.narrow(2, t, rows);
    const InnerRows read =
        inner_steps(net, k, target, weights, norm, inner_rates(inputs.scale_C.narrow(0, 0, rows), sigma));
    weights = inner_update(net, weights, read.x, read.g, inputs.scale_C[rows - 1] * sigma);
    loss_after.push_back(loss(weights));
    at::Tensor change;
    for (std::size_t l = 0; l < net.layers.size(); ++l) {
      const at::Tensor one = (weight_of(weights, l) - weight_of(start, l)).square().sum({-1, -2});
      change = change.defined() ? change + one : one;
    }
    weight_change.push_back(change.sqrt().mean());
  }
  const auto stack = [](const std::vector<at::Tensor>& values) { return at::stack(values).to(at::kFloat); };
  return {stack(loss_w0), stack(loss_before), stack(loss_after), stack(weight_change)};
}

}  // namespace ttt
