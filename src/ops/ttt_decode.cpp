// Decoding: the state of the inner loop, advanced by any number of tokens from any place inside the mini-batch, in ATen
// calls. (Fused rows have a pass of their own.)
//
// Shapes: B batch, H heads, T time, K head size, M hidden width of TTT-MLP, C mini-batch, R rows of a piece of it.
#include <ATen/ATen.h>

#include "base/error.h"
#include "ops/ttt_inner.h"
#include "ops/ttt_kernels.h"

namespace ttt {
namespace {

constexpr double kEps = 1e-6;

at::Tensor normalise(const at::Tensor& z, at::Tensor* r) {
  const at::Tensor centred = z - z.mean(-1, /*keepdim=*/true);
  *r = (centred.square().mean(-1, true) + kEps).rsqrt();
  return centred * *r;
}

// phi'(x) of the tanh form of GELU.
at::Tensor gelu_derivative(const at::Tensor& x) {
  return at::gelu_backward(at::ones_like(x), x, "tanh");
}

}  // namespace

at::Tensor inner_layer_norm(const at::Tensor& z_BHRK, const at::Tensor& gain_HK, const at::Tensor& bias_HK) {
  at::Tensor r;
  return normalise(z_BHRK, &r) * gain_HK.unsqueeze(1) + bias_HK.unsqueeze(1);
}

at::Tensor inner_model(TttKind kind, const at::Tensor& k_BHRK, const TttWeights& w, const at::Tensor& gain_HK,
                       const at::Tensor& bias_HK) {
  at::Tensor z = at::matmul(k_BHRK, w.w1) + w.b1;
  if (kind == TttKind::kMlp) z = at::matmul(at::gelu(z, "tanh"), w.w2) + w.b2;
  return inner_layer_norm(z, gain_HK, bias_HK);
}

TttInnerGradient inner_gradient(TttKind kind, const at::Tensor& k_BHRK, const at::Tensor& v_BHRK, const TttWeights& w,
                                const at::Tensor& gain_HK, const at::Tensor& bias_HK) {
  const at::Tensor gain = gain_HK.unsqueeze(1);
  // D = g xh + beta - (V - K);  H = g (.) D;  G = r * P(H; xh)
  const auto loss_gradient = [&](const at::Tensor& z) {
    at::Tensor r;
    const at::Tensor xh = normalise(z, &r);
    const at::Tensor h = gain * (gain * xh + bias_HK.unsqueeze(1) - (v_BHRK - k_BHRK));
    return r * (h - h.mean(-1, true) - xh * (h * xh).mean(-1, true));
  };
  const at::Tensor z1 = at::matmul(k_BHRK, w.w1) + w.b1;
  if (kind == TttKind::kLinear) return {loss_gradient(z1), {}, {}};
  const at::Tensor x2 = at::gelu(z1, "tanh");
  const at::Tensor g2 = loss_gradient(at::matmul(x2, w.w2) + w.b2);
  return {at::matmul(g2, w.w2.transpose(-1, -2)) * gelu_derivative(z1), x2, g2};
}

TttWeights inner_update(TttKind kind, const TttWeights& w, const at::Tensor& k_BHRK, const TttInnerGradient& gradient,
                        const at::Tensor& e_BHR) {
  const at::Tensor e = e_BHR.unsqueeze(-1);
  const auto step = [&](const at::Tensor& weight, const at::Tensor& x, const at::Tensor& g) {
    return weight - at::matmul((e * x).transpose(-1, -2), g);
  };
  const auto bias_step = [&](const at::Tensor& bias, const at::Tensor& g) { return bias - (e * g).sum(-2, true); };
  TttWeights next{step(w.w1, k_BHRK, gradient.g1), bias_step(w.b1, gradient.g1), {}, {}};
  if (kind == TttKind::kMlp) {
    next.w2 = step(w.w2, gradient.x2, gradient.g2);
    next.b2 = bias_step(w.b2, gradient.g2);
  }
  return next;
}

TttState ttt_initial_state(const TttWeights& initial, std::int64_t batch, std::int64_t mini_batch_size) {
  if (batch < 1 || mini_batch_size < 1) {
    fail("TTT op: a state for batch ", batch, " and mini-batch size ", mini_batch_size,
         " was asked for; both must be at least 1");
  }
  const at::NoGradGuard no_grad;
  const auto repeat = [&](const at::Tensor& t) {
    return t.defined() ? t.unsqueeze(0).repeat({batch, 1, 1, 1}) : at::Tensor();
  };
  const std::int64_t heads = initial.w1.size(0), head_dim = initial.w1.size(1), hidden = initial.w1.size(2);
  const auto rows = [&](std::int64_t width) {
    return at::zeros({batch, heads, mini_batch_size, width}, initial.w1.options().requires_grad(false));
  };
  TttState state;
  state.weights = {repeat(initial.w1), repeat(initial.b1), repeat(initial.w2), repeat(initial.b2)};
  state.k_BHCK = rows(head_dim);
  state.g1 = rows(hidden);  // TTT-Linear: [K,K] weights, so K
  if (initial.w2.defined()) {
    state.x2 = rows(hidden);
    state.g2 = rows(head_dim);
  }
  state.sigma_BHC = rows(1).squeeze(-1);
  return state;
}

at::Tensor ttt_advance(TttKind kind, const TttInputs& inputs, TttState& state) {
  const at::NoGradGuard no_grad;
  const at::Tensor& q = inputs.q_BHTK;
  const std::int64_t mini_batch = state.k_BHCK.size(2), time = q.defined() && q.dim() == 4 ? q.size(2) : 0;
  if (time > 0 && q.size(0) != state.k_BHCK.size(0)) {
    fail("TTT op: the batch is ", q.size(0), " but the decoding state was made for a batch of ", state.k_BHCK.size(0));
  }
  check_ttt_arguments(kind, inputs, state.weights, mini_batch, state.k_BHCK.size(0));
  TttShape shape = shape_of(inputs, mini_batch);
  shape.bf16_products = false;
  if (const TttKernel* row = choose_ttt_decoder(kind, shape)) return row->run.advance(kind, inputs, state);
  at::Tensor o_BHTK = at::empty(q.sizes(), q.options());
  for (std::int64_t t = 0; t < time;) {
    // The next R tokens: rows [first, first + R) of the open mini-batch.
    const std::int64_t first = state.num_open, rows = std::min(mini_batch - first, time - t), open = first + rows;
    const at::Tensor q_BHRK = q.narrow(2, t, rows), k_BHRK = inputs.k_BHTK.narrow(2, t, rows);
    const TttInnerGradient g =
        inner_gradient(kind, k_BHRK, inputs.v_BHTK.narrow(2, t, rows), state.weights, inputs.gain_HK, inputs.bias_HK);
    state.k_BHCK.narrow(2, first, rows).copy_(k_BHRK);
    state.g1.narrow(2, first, rows).copy_(g.g1);
    state.sigma_BHC.narrow(2, first, rows).copy_(inputs.sigma_BHT.narrow(2, t, rows));
    if (kind == TttKind::kMlp) {
      state.x2.narrow(2, first, rows).copy_(g.x2);
      state.g2.narrow(2, first, rows).copy_(g.g2);
    }

    // N_ij = s_i sigma_j (A_ij + 1) for j <= i, over the keys of the open mini-batch so far: [B,H,R,open]
    const auto opened = [&](const at::Tensor& x) { return x.narrow(2, 0, open); };
    const at::Tensor e_BHRO =
        (inputs.scale_C.narrow(0, first, rows).unsqueeze(1) * opened(state.sigma_BHC).unsqueeze(2)).tril(first);
    const auto dual = [&](const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& gradients) {
      return at::matmul(e_BHRO * (at::matmul(queries, opened(keys).transpose(-1, -2)) + 1), opened(gradients));
    };
    at::Tensor zq = at::matmul(q_BHRK, state.weights.w1) + state.weights.b1 - dual(q_BHRK, state.k_BHCK, state.g1);
    if (kind == TttKind::kMlp) {
      const at::Tensor x2q = at::gelu(zq, "tanh");
      zq = at::matmul(x2q, state.weights.w2) + state.weights.b2 - dual(x2q, state.x2, state.g2);
    }
    o_BHTK.narrow(2, t, rows).copy_(q_BHRK + inner_layer_norm(zq, inputs.gain_HK, inputs.bias_HK));

    t += rows;
    state.num_open = open;
    if (open < mini_batch) continue;
    const TttInnerGradient whole{state.g1, state.x2, state.g2};
    state.weights =
        inner_update(kind, state.weights, state.k_BHCK, whole, inputs.scale_C[mini_batch - 1] * state.sigma_BHC);
    state.num_open = 0;
  }
  return o_BHTK;
}

}  // namespace ttt
