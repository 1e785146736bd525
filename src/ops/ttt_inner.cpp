#include "ops/ttt_inner.h"

#include <ATen/ATen.h>

namespace ttt {
namespace {

at::Tensor phi(const at::Tensor& z) {
  return at::gelu(z, "tanh");
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
  const std::size_t last = net.layers.size() - 1;
  InnerKeys keys;
  for (std::size_t l = 0; l <= last; ++l) {
    keys.x.push_back(l == 0 ? k : phi(keys.z.back()));
    keys.z.push_back(at::matmul(keys.x[l], weight_of(weights, l)) + bias_of(weights, l));
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
    keys.b[l] = at::matmul(keys.g[l + 1], weight_of(weights, l + 1).transpose(-1, -2));
    keys.g[l] = at::gelu_backward(keys.b[l], keys.z[l], "tanh");
  }
  return keys;
}

TttWeights inner_update(const TttWeights& weights, const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& g,
                        const at::Tensor& e) {
  const at::Tensor rates = e.unsqueeze(-1);
  TttWeights next;
  for (std::size_t l = 0; l < x.size(); ++l) {
    next.push_back(weight_of(weights, l) - at::matmul((rates * x[l]).transpose(-1, -2), g[l]));
    next.push_back(bias_of(weights, l) - (rates * g[l]).sum(-2, /*keepdim=*/true));
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
    queries.a.push_back(at::matmul(xq, x[l].transpose(-1, -2)));
    queries.n.push_back(rates * (queries.a[l] + 1));
    queries.z.push_back(at::matmul(xq, weight_of(weights, l)) + bias_of(weights, l) - at::matmul(queries.n[l], g[l]));
  }
  const at::Tensor y = inner_value(net, queries.z.back(), norm);
  queries.o = net.learner.residual ? q + y : y;
  return queries;
}

}  // namespace ttt
