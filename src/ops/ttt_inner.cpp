#include "ops/ttt_inner.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace ttt {
namespace {

at::Tensor phi(const at::Tensor& z) {
  return at::gelu(z, "tanh");
}

// y - sum_p (rates (.) (X K_p^T + one)) V_p: what rows X, times a matrix y, are times what each of them sees of it after
// steps with keys K_p and values V_p, of which a layer has every `stride`th one.
at::Tensor read_after(at::Tensor y, const at::Tensor& x, const std::vector<at::Tensor>& keys,
                      const std::vector<at::Tensor>& values, std::size_t first, std::size_t stride,
                      const at::Tensor& rates, bool one) {
  for (std::size_t i = first; i < keys.size(); i += stride) {
    const at::Tensor a = at::matmul(x, keys[i].transpose(-1, -2));
    y = y - at::matmul(rates * (one ? a + 1 : a), values[i]);
  }
  return y;
}

}  // namespace

InnerNormalised inner_normalise(const at::Tensor& z) {
  const at::Tensor centred = z - z.mean(-1, /*keepdim=*/true);
  const at::Tensor r = (centred.square().mean(-1, true) + kernels::kLayerNormEps).rsqrt();
  return {centred * r, r};
}

at::Tensor inner_value(const TttNet& net, const at::Tensor& z, const InnerNorm& norm) {
  return net.learner.layer_norm ? inner_normalise(z).xh * norm.gain + norm.bias : z;
}

at::Tensor inner_model(const TttNet& net, const at::Tensor& k, const TttWeights& weights, const InnerNorm& norm) {
  at::Tensor z;
  for (std::size_t l = 0; l < net.layers.size(); ++l)
    z = at::matmul(l == 0 ? k : phi(z), weight_of(weights, l)) + bias_of(weights, l);
  return inner_value(net, z, norm);
}

at::Tensor inner_target(const TttNet& net, const at::Tensor& k, const at::Tensor& v) {
  return net.learner.residual ? v - k : v;
}

InnerKeys inner_gradient(const TttNet& net, const at::Tensor& k, const at::Tensor& target, const TttWeights& weights,
                         const InnerNorm& norm) {
  return inner_gradient(net, k, target, weights, norm, {}, {});
}

InnerKeys inner_gradient(const TttNet& net, const at::Tensor& k, const at::Tensor& target, const TttWeights& weights,
                         const InnerNorm& norm, const at::Tensor& rates, const InnerRows& before) {
  const std::size_t layers = net.layers.size(), last = layers - 1;
  InnerKeys keys;
  for (std::size_t l = 0; l <= last; ++l) {
    keys.x.push_back(l == 0 ? k : phi(keys.z.back()));
    keys.z.push_back(read_after(at::matmul(keys.x[l], weight_of(weights, l)) + bias_of(weights, l), keys.x[l], before.x,
                                before.g, l, layers, rates, net.update.biases));
  }
  keys.g.resize(last + 1), keys.b.resize(last);
  if (net.learner.layer_norm) {
    // D = g xh + beta - target;  H = g (.) D;  G = r * P(H; xh)
    keys.norm = inner_normalise(keys.z[last]);
    const auto& [xh, r] = keys.norm;
    const at::Tensor h = norm.gain * (norm.gain * xh + norm.bias - target);
    keys.g[last] = r * (h - h.mean(-1, true) - xh * (h * xh).mean(-1, true));
  } else {
    keys.g[last] = keys.z[last] - target;
  }
  for (std::size_t l = last; l-- > 0;) {
    keys.b[l] = read_after(at::matmul(keys.g[l + 1], weight_of(weights, l + 1).transpose(-1, -2)), keys.g[l + 1],
                           before.g, before.x, l + 1, layers, rates, /*one=*/false);
    keys.g[l] = at::gelu_backward(keys.b[l], keys.z[l], "tanh");
  }
  return keys;
}

InnerRows inner_steps(const TttNet& net, const at::Tensor& k, const at::Tensor& target, const TttWeights& weights,
                      const InnerNorm& norm, const at::Tensor& rates) {
  InnerRows rows;
  for (std::int64_t m = 0; m < net.update.steps; ++m) {
    const InnerKeys keys = inner_gradient(net, k, target, weights, norm, rates, rows);
    rows.x.insert(rows.x.end(), keys.x.begin(), keys.x.end());
    rows.g.insert(rows.g.end(), keys.g.begin(), keys.g.end());
  }
  return rows;
}

TttWeights inner_update(const TttNet& net, const TttWeights& weights, const std::vector<at::Tensor>& x,
                        const std::vector<at::Tensor>& g, const at::Tensor& e) {
  const at::Tensor rates = e.unsqueeze(-1);
  TttWeights next = weights;
  for (std::size_t i = 0; i < x.size(); ++i) {
    at::Tensor &w = next[2 * (i % net.layers.size())], &c = next[2 * (i % net.layers.size()) + 1];
    w = w - at::matmul((rates * x[i]).transpose(-1, -2), g[i]);
    if (net.update.biases) c = c - (rates * g[i]).sum(-2, /*keepdim=*/true);
  }
  return next;
}

at::Tensor inner_rates(const at::Tensor& scale_R, const at::Tensor& sigma, std::int64_t first) {
  return (scale_R.unsqueeze(-1) * sigma.unsqueeze(-2)).tril(first);
}

InnerQueries inner_output(const TttNet& net, const at::Tensor& q, const at::Tensor& rates,
                          const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& g, const TttWeights& weights,
                          const InnerNorm& norm) {
  InnerQueries queries;
  for (std::size_t l = 0; l < net.layers.size(); ++l) {
    queries.x.push_back(l == 0 ? q : phi(queries.z.back()));
    const at::Tensor& xq = queries.x[l];
    at::Tensor z = at::matmul(xq, weight_of(weights, l)) + bias_of(weights, l);
    for (std::size_t i = l; i < x.size(); i += net.layers.size()) {
      queries.a.push_back(at::matmul(xq, x[i].transpose(-1, -2)));
      queries.n.push_back(rates * (net.update.biases ? queries.a.back() + 1 : queries.a.back()));
      z = z - at::matmul(queries.n.back(), g[i]);
    }
    queries.z.push_back(z);
  }
  const at::Tensor y = inner_value(net, queries.z.back(), norm);
  queries.o = net.learner.residual ? q + y : y;
  return queries;
}

at::Tensor inner_sequence(const TttNet& net, const at::Tensor& q, const at::Tensor& k, const at::Tensor& target,
                          const at::Tensor& sigma, const at::Tensor& scale_C, TttWeights weights,
                          const InnerNorm& norm) {
  const std::int64_t T = q.size(1), C = scale_C.size(0);
  std::vector<at::Tensor> outputs;
  for (std::int64_t begin = 0; begin < T; begin += C) {
    const std::int64_t tokens = std::min(C, T - begin);
    const auto part = [&](const at::Tensor& x) { return x.narrow(1, begin, tokens); };
    const at::Tensor rates = inner_rates(scale_C.narrow(0, 0, tokens), part(sigma));
    const InnerRows rows = inner_steps(net, part(k), part(target), weights, norm, rates);
    outputs.push_back(inner_output(net, part(q), rates, rows.x, rows.g, weights, norm).o);
    if (tokens == C) weights = inner_update(net, weights, rows.x, rows.g, rates.select(1, tokens - 1));
  }
  return at::cat(outputs, 1);
}

}  // namespace ttt
