// The composed row for nets that take several gradient steps in a mini-batch: the sequence in ATen calls, one mini-batch
// after the other, and for the backward pass once more with autograd looking on, which then keeps all that the sequence
// computes, of one layer of a model at a time. Equations: kernels/reference/ttt_reference.h.
//
// Shapes: B batch, H heads, P = B*H, T time, K head size, C mini-batch.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "ops/ttt_inner.h"
#include "ops/ttt_kernels.h"

namespace ttt {

at::Tensor sequence_forward(const TttNet& net, const TttInputs& in, const TttWeights& initial) {
  const std::int64_t B = in.q_BHTK.size(0);
  const auto by_head = [](const at::Tensor& x_BHT) { return x_BHT.flatten(0, 1); };    // [P,T,...]
  const auto per_head = [&](const at::Tensor& w_H) { return w_H.repeat({B, 1, 1}); };  // [P,...] of [H,...,...]
  TttWeights weights;
  for (const at::Tensor& w : initial) weights.push_back(per_head(w));
  const at::Tensor k = by_head(in.k_BHTK);
  return inner_sequence(net, by_head(in.q_BHTK), k, inner_target(net, k, by_head(in.v_BHTK)), by_head(in.sigma_BHT),
                        in.scale_C, std::move(weights),
                        {per_head(in.gain_HK.unsqueeze(1)), per_head(in.bias_HK.unsqueeze(1))})
      .view(in.q_BHTK.sizes());
}

TttGradients sequence_backward(const TttNet& net, const at::Tensor& grad_o_BHTK, const TttInputs& inputs,
                               const TttWeights& initial) {
  const at::AutoGradMode with_graph(true);
  std::vector<at::Tensor> leaves;
  const auto leaf = [&](const at::Tensor& x) {
    leaves.push_back(x.detach().requires_grad_(true));
    return leaves.back();
  };
  TttInputs in;
  in.q_BHTK = leaf(inputs.q_BHTK), in.k_BHTK = leaf(inputs.k_BHTK), in.v_BHTK = leaf(inputs.v_BHTK);
  in.sigma_BHT = leaf(inputs.sigma_BHT), in.scale_C = leaf(inputs.scale_C);
  in.gain_HK = leaf(inputs.gain_HK), in.bias_HK = leaf(inputs.bias_HK);
  TttWeights weights;
  for (const at::Tensor& w : initial) weights.push_back(leaf(w));
  std::vector<at::Tensor> grads = torch::autograd::grad({sequence_forward(net, in, weights)}, leaves, {grad_o_BHTK},
                                                        /*retain_graph=*/false, /*create_graph=*/false,
                                                        /*allow_unused=*/true);
  for (std::size_t i = 0; i < grads.size(); ++i)
    if (!grads[i].defined()) grads[i] = at::zeros_like(leaves[i].detach());  // a gain without a LayerNorm
  return {{grads[0], grads[1], grads[2], grads[3], grads[4], grads[5], grads[6]}, {grads.begin() + 7, grads.end()}};
}

}  // namespace ttt
