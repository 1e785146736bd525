// Decoding: the state of the inner loop, advanced by any number of tokens from any place inside the mini-batch, in ATen
// calls. (Fused rows have a pass of their own.)
//
// Shapes: B batch, H heads, T time, K head size, C mini-batch, R rows of a piece of it.
#include <ATen/ATen.h>

#include "base/error.h"
#include "ops/ttt_inner.h"
#include "ops/ttt_kernels.h"

namespace ttt {

std::vector<at::Tensor*> TttState::tensors() {
  std::vector<at::Tensor*> all;
  for (std::vector<at::Tensor>* list : {&weights, &x, &g}) {
    for (at::Tensor& tensor : *list) all.push_back(&tensor);
  }
  all.push_back(&sigma_BHC);
  return all;
}

TttState ttt_initial_state(const TttWeights& initial, std::int64_t batch, std::int64_t mini_batch_size,
                           std::int64_t steps) {
  if (batch < 1 || mini_batch_size < 1) {
    fail("TTT op: a state for batch ", batch, " and mini-batch size ", mini_batch_size,
         " was asked for; both must be at least 1");
  }
  const at::NoGradGuard no_grad;
  const at::TensorOptions options = initial.at(0).options().requires_grad(false);
  const std::int64_t heads = initial[0].size(0);
  TttState state;
  for (const at::Tensor& t : initial) state.weights.push_back(t.unsqueeze(0).repeat({batch, 1, 1, 1}));
  const std::size_t layers = initial.size() / 2;
  for (std::size_t i = 0; i < layers * static_cast<std::size_t>(steps); ++i) {
    const at::Tensor& weight = weight_of(initial, i % layers);
    state.x.push_back(at::zeros({batch, heads, mini_batch_size, weight.size(1)}, options));
    state.g.push_back(at::zeros({batch, heads, mini_batch_size, weight.size(2)}, options));
  }
  state.sigma_BHC = at::zeros({batch, heads, mini_batch_size}, options);
  return state;
}

at::Tensor ttt_advance(const TttNet& net, const TttInputs& inputs, TttState& state) {
  const at::NoGradGuard no_grad;
  const at::Tensor& q = inputs.q_BHTK;
  const std::int64_t mini_batch = state.mini_batch(), time = q.defined() && q.dim() == 4 ? q.size(2) : 0;
  if (time > 0 && q.size(0) != state.batch())
    fail("TTT op: the batch is ", q.size(0), " but the decoding state was made for a batch of ", state.batch());
  check_ttt_arguments(net, inputs, state.weights, mini_batch, state.batch());
  const std::size_t layers = net.layers.size(), all_rows = layers * static_cast<std::size_t>(net.update.steps);
  if (state.x.size() != all_rows)
    fail("TTT op: the decoding state was made for ", state.x.size() / layers, " gradient steps, the net has ",
         net.update.steps);
  TttShape shape = shape_of(net, inputs, mini_batch);
  shape.bf16_products = false;
  if (const TttKernel* row = choose_ttt_decoder(net, shape)) return row->run.advance(net, inputs, state);

  const InnerNorm norm{inputs.gain_HK.unsqueeze(1), inputs.bias_HK.unsqueeze(1)};
  at::Tensor o_BHTK = at::empty(q.sizes(), q.options());
  for (std::int64_t t = 0; t < time;) {
    // The next R tokens: rows [first, open) of the open mini-batch.
    const std::int64_t first = state.num_open, rows = std::min(mini_batch - first, time - t), open = first + rows;
    const auto next = [&](const at::Tensor& x) { return x.narrow(2, t, rows); };
    const at::Tensor k = next(inputs.k_BHTK), target = inner_target(net, k, next(inputs.v_BHTK));
    state.sigma_BHC.narrow(2, first, rows).copy_(next(inputs.sigma_BHT));
    const at::Tensor rates =
        inner_rates(inputs.scale_C.narrow(0, first, rows), state.sigma_BHC.narrow(2, 0, open), first);
    InnerRows so_far;  // of the open mini-batch
    for (std::size_t i = 0; i < all_rows;) {
      const InnerKeys keys = inner_gradient(net, k, target, state.weights, norm, rates, so_far);
      for (std::size_t l = 0; l < layers; ++l, ++i) {
        state.x[i].narrow(2, first, rows).copy_(keys.x[l]);
        state.g[i].narrow(2, first, rows).copy_(keys.g[l]);
        so_far.x.push_back(state.x[i].narrow(2, 0, open));
        so_far.g.push_back(state.g[i].narrow(2, 0, open));
      }
    }
    o_BHTK.narrow(2, t, rows).copy_(inner_output(net, next(q), rates, so_far.x, so_far.g, state.weights, norm).o);

    t += rows;
    state.num_open = open;
    if (open < mini_batch) continue;
    state.weights =
        inner_update(net, state.weights, state.x, state.g, inputs.scale_C[mini_batch - 1] * state.sigma_BHC);
    state.num_open = 0;
  }
  return o_BHTK;
}

}  // namespace ttt
