#include "bench/naive_ttt.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace ttt {
namespace {

constexpr double kEps = 1e-6;  // of the inner LayerNorm

struct Normed {
  at::Tensor xh, r;
};

Normed normalise(const at::Tensor& z) {
  const at::Tensor centred = z - z.mean(-1, /*keepdim=*/true);
  const at::Tensor r = (centred.square().mean(-1, true) + kEps).rsqrt();
  return {centred * r, r};
}

// The inner LayerNorm of each head, gain and bias [P,1,K].
struct InnerNorm {
  at::Tensor gain, bias;

  at::Tensor forward(const at::Tensor& z) const { return gain * normalise(z).xh + bias; }

  // d/dz 1/2 ||LN(z) - target||^2
  at::Tensor loss_gradient(const at::Tensor& z, const at::Tensor& target) const {
    const Normed n = normalise(z);
    const at::Tensor h = gain * (gain * n.xh + bias - target);
    return n.r * (h - h.mean(-1, true) - n.xh * (h * n.xh).mean(-1, true));
  }
};

at::Tensor gelu_tanh(const at::Tensor& z) {
  return at::gelu(z, "tanh");
}

at::Tensor gelu_derivative(const at::Tensor& z) {
  const double k = std::sqrt(2 / std::numbers::pi), a = 0.044715;
  const at::Tensor square = z * z, t = at::tanh(k * z * (1 + a * square));
  return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * (k * (1 + 3 * a * square));
}

// One layer of the inner network in the dual form: what its outputs at the queries are, and its update.
struct InnerLayer {
  at::Tensor w, b;  // [P,in,out], [P,1,out]

  at::Tensor forward(const at::Tensor& x) const { return at::matmul(x, w) + b; }

  // Outputs at the queries xq after each row's own update, by inputs x and gradients g; eta [P,c,c] lower-triangular.
  at::Tensor updated_forward(const at::Tensor& xq, const at::Tensor& x, const at::Tensor& g,
                             const at::Tensor& eta) const {
    const at::Tensor scores = at::matmul(xq, x.transpose(-2, -1)).tril();
    const at::Tensor updated_b = b - at::matmul(eta, g);
    return at::matmul(xq, w) - at::matmul(eta * scores, g) + updated_b;
  }

  // last_eta [P,c,1]
  void update(const at::Tensor& x, const at::Tensor& g, const at::Tensor& last_eta) {
    w = w - at::matmul((last_eta * x).transpose(-2, -1), g);
    b = b - (last_eta * g).sum(-2, /*keepdim=*/true);
  }
};

at::Tensor linear_step(InnerLayer& layer, const InnerNorm& norm, const at::Tensor& q, const at::Tensor& k,
                       const at::Tensor& target, const at::Tensor& eta, bool is_full) {
  const at::Tensor g = norm.loss_gradient(layer.forward(k), target);
  at::Tensor zq = layer.updated_forward(q, k, g, eta);
  if (is_full) layer.update(k, g, eta.narrow(1, eta.size(1) - 1, 1).transpose(1, 2));
  return zq;
}

at::Tensor mlp_step(InnerLayer& first, InnerLayer& second, const InnerNorm& norm, const at::Tensor& q,
                    const at::Tensor& k, const at::Tensor& target, const at::Tensor& eta, bool is_full) {
  const at::Tensor z1 = first.forward(k), x2 = gelu_tanh(z1);
  const at::Tensor g2 = norm.loss_gradient(second.forward(x2), target);
  const at::Tensor g1 = at::matmul(g2, second.w.transpose(-2, -1)) * gelu_derivative(z1);
  const at::Tensor x2q = gelu_tanh(first.updated_forward(q, k, g1, eta));
  at::Tensor z2q = second.updated_forward(x2q, x2, g2, eta);
  if (is_full) {
    const at::Tensor last_eta = eta.narrow(1, eta.size(1) - 1, 1).transpose(1, 2);
    first.update(k, g1, last_eta);
    second.update(x2, g2, last_eta);
  }
  return z2q;
}

}  // namespace

at::Tensor naive_ttt(TttKind kind, const TttInputs& inputs, const TttWeights& initial, std::int64_t mini_batch_size) {
  const std::int64_t B = inputs.q_BHTK.size(0), T = inputs.q_BHTK.size(2), C = mini_batch_size;
  const auto by_head = [](const at::Tensor& x_BHT) { return x_BHT.flatten(0, 1); };    // [P,T,...]
  const auto per_head = [&](const at::Tensor& w_H) { return w_H.repeat({B, 1, 1}); };  // [P,...] of [H,...,...]
  const at::Tensor q = by_head(inputs.q_BHTK), k = by_head(inputs.k_BHTK), target = by_head(inputs.v_BHTK) - k;
  const at::Tensor sigma_PT = by_head(inputs.sigma_BHT);
  const InnerNorm norm{per_head(inputs.gain_HK.unsqueeze(1)), per_head(inputs.bias_HK.unsqueeze(1))};
  InnerLayer first{per_head(initial.w1), per_head(initial.b1)}, second;
  if (kind == TttKind::kMlp) second = {per_head(initial.w2), per_head(initial.b2)};

  std::vector<at::Tensor> outputs;
  for (std::int64_t begin = 0; begin < T; begin += C) {
    const std::int64_t c = std::min(C, T - begin);
    const auto part = [&](const at::Tensor& x) { return x.narrow(1, begin, c); };
    const at::Tensor eta = (inputs.scale_C.narrow(0, 0, c).unsqueeze(1) * part(sigma_PT).unsqueeze(1)).tril();
    const at::Tensor zq = kind == TttKind::kLinear
                              ? linear_step(first, norm, part(q), part(k), part(target), eta, c == C)
                              : mlp_step(first, second, norm, part(q), part(k), part(target), eta, c == C);
    outputs.push_back(part(q) + norm.forward(zq));
  }
  return at::cat(outputs, 1).view(inputs.q_BHTK.sizes());
}

}  // namespace ttt
