// The `composed` row: the dual form in batched ATen calls over all heads, forward and hand-written backward, for any
// inner net, on any device (nets of several gradient steps a mini-batch: ttt_composed_steps.cpp). Equations: kernels/reference/ttt_reference.h; the forward maths: ttt_inner.h.
//
// A call is cut into segments of S mini-batches. Within one, only what depends on the fast weights goes mini-batch by
// mini-batch; the queries' pass and most of the backward pass are done for all of them at once. A short last mini-batch
// is padded with zeros (sigma 0): the causal mask and the rates keep padded rows from having any effect.
//
// Kept for the backward pass: the fast weights at the start of every segment, [segments, P, ...]; the backward pass
// runs a segment's forward again. For fp32, K = 64, C = 16 that is 65 bytes a token and head for TTT-Linear, 0.5 KiB
// for TTT-MLP.
//
// Shapes: B batch, H heads, P = B*H, T time, K head size, C mini-batch, S mini-batches of a segment.
#include <ATen/ATen.h>

#include <algorithm>

#include "ops/ttt_inner.h"
#include "ops/ttt_kernels.h"

namespace ttt {
namespace {

using at::Tensor;
using Tensors = std::vector<Tensor>;

constexpr std::int64_t kSegment = 16;  // mini-batches

Tensor transposed(const Tensor& x) {
  return x.transpose(-1, -2);
}

// phi''(z) = (1 - t^2) u' + z/2 (1 - t^2) (u'' - 2 t u'^2),  u = k (z + a z^3),  t = tanh u
Tensor gelu_second(const Tensor& z) {
  constexpr double k = 0.7978845608028653558798921198687, a = 0.044715;  // k: sqrt(2/pi)
  const Tensor square = z * z, t = (k * z * (1 + a * square)).tanh(), du = k * (1 + 3 * a * square);
  return (1 - t * t) * (du + 0.5 * z * (6 * k * a * z - 2 * t * du * du));
}

// x (.) phi'(z)
Tensor times_gelu_first(const Tensor& x, const Tensor& z) {
  return at::gelu_backward(x, z, "tanh");
}

// r * P(a; xh),  P(a; xh) = a - mean(a) - xh mean(a (.) xh)
Tensor normalise_backward(const Tensor& a, const InnerNormalised& n) {
  return n.r * (a - a.mean(-1, true) - n.xh * (a * n.xh).mean(-1, true));
}

// [B,H,T,...] as [P, whole mini-batches, C, ...], zeros behind the last token.
Tensor in_mini_batches(const Tensor& x, std::int64_t C) {
  Tensor rows = x.flatten(0, 1);
  const std::int64_t T = rows.size(1), padding = (C - T % C) % C;
  if (padding > 0) {
    std::vector<std::int64_t> sizes = rows.sizes().vec();
    sizes[1] = padding;
    rows = at::cat({rows, at::zeros(sizes, rows.options())}, 1);
  }
  return rows.unflatten(1, {-1, C});
}

// The inputs of a call, by mini-batch.
struct Call {
  const TttNet& net;
  std::int64_t B, H, T, C, mini_batches, segments;
  Tensor q, k, target;  // [P,N,C,K]
  Tensor sigma;         // [P,N,C]
  Tensor scale_C;
  InnerNorm norm;  // [P,1,K]

  Call(const TttNet& of, const TttInputs& in, std::int64_t mini_batch)
      : net(of),
        B(in.q_BHTK.size(0)),
        H(in.q_BHTK.size(1)),
        T(in.q_BHTK.size(2)),
        C(mini_batch),
        mini_batches((T + C - 1) / C),
        segments((mini_batches + kSegment - 1) / kSegment),
        q(in_mini_batches(in.q_BHTK, C)),
        k(in_mini_batches(in.k_BHTK, C)),
        target(in_mini_batches(inner_target(of, in.k_BHTK, in.v_BHTK), C)),
        sigma(in_mini_batches(in.sigma_BHT, C)),
        scale_C(in.scale_C),
        norm{in.gain_HK.repeat({B, 1}).unsqueeze(1), in.bias_HK.repeat({B, 1}).unsqueeze(1)} {}

  // The learned weights for every sequence and head: [P,in,out], [P,1,out], ...
  TttWeights start(const TttWeights& initial) const {
    TttWeights weights;
    for (const Tensor& w : initial) weights.push_back(w.repeat({B, 1, 1}));
    return weights;
  }

  // x [P,N,C,...] back to [B,H,T,...].
  Tensor of_tokens(const Tensor& x) const { return x.flatten(1, 2).narrow(1, 0, T).unflatten(0, {B, H}); }
};

// The keys' pass over one segment: mini-batch by mini-batch, each from the weights that the one before leaves.
struct SegmentPass {
  const Call& call;
  std::int64_t first, count;      // mini-batches
  std::vector<InnerKeys> keys;    // of each mini-batch, [P,C,...]
  std::vector<TttWeights> start;  // of each mini-batch, [P,...]
  TttWeights end;                 // where wanted

  SegmentPass(const Call& of, std::int64_t segment, TttWeights weights, bool want_end)
      : call(of), first(segment * kSegment), count(std::min(kSegment, of.mini_batches - first)) {
    const Tensor last_scale = call.scale_C[call.C - 1];
    for (std::int64_t i = 0; i < count; ++i) {
      start.push_back(weights);
      keys.push_back(inner_gradient(call.net, of_step(call.k, i), of_step(call.target, i), weights, call.norm));
      if (i + 1 < count || want_end)
        weights = inner_update(call.net, weights, keys[i].x, keys[i].g, last_scale * of_step(call.sigma, i));
    }
    if (want_end) end = std::move(weights);
  }

  Tensor of_step(const Tensor& x, std::int64_t i) const { return x.select(1, first + i); }  // [P,C,...]
  Tensor all(const Tensor& x) const { return x.narrow(1, first, count); }                   // [P,S,...]

  // What `member` of each mini-batch has of each layer, side by side: [P,S,...]
  Tensors by_layer(Tensors InnerKeys::*member) const {
    Tensors layers;
    for (std::size_t l = 0; l < (keys[0].*member).size(); ++l) {
      Tensors parts;
      for (const InnerKeys& one : keys) parts.push_back((one.*member)[l]);
      layers.push_back(at::stack(parts, 1));
    }
    return layers;
  }
  TttWeights weights() const {
    TttWeights all;
    for (std::size_t w = 0; w < start[0].size(); ++w) {
      Tensors parts;
      for (const TttWeights& one : start) parts.push_back(one[w]);
      all.push_back(at::stack(parts, 1));
    }
    return all;
  }
  InnerNorm norm() const { return {call.norm.gain.unsqueeze(1), call.norm.bias.unsqueeze(1)}; }  // [P,1,1,K]
  Tensor rates() const { return inner_rates(call.scale_C, all(call.sigma)); }                    // [P,S,C,C]
};

Tensor composed_forward(const TttNet& net, const TttInputs& inputs, const TttWeights& initial,
                        std::int64_t mini_batch_size, TttSaved* saved) {
  if (net.update.steps > 1) return sequence_forward(net, inputs, initial);
  const Call call(net, inputs, mini_batch_size);
  TttWeights weights = call.start(initial);
  std::vector<Tensors> starts(weights.size());
  Tensors outputs;
  for (std::int64_t n = 0; n < call.segments; ++n) {
    if (saved != nullptr)
      for (std::size_t w = 0; w < weights.size(); ++w) starts[w].push_back(weights[w]);
    SegmentPass segment(call, n, std::move(weights), /*want_end=*/n + 1 < call.segments);
    outputs.push_back(inner_output(net, segment.all(call.q), segment.rates(), segment.by_layer(&InnerKeys::x),
                                   segment.by_layer(&InnerKeys::g), segment.weights(), segment.norm())
                          .o);
    weights = std::move(segment.end);
  }
  if (saved != nullptr)
    for (const Tensors& one : starts) saved->push_back(at::stack(one));
  return call.of_tokens(at::cat(outputs, 1));
}

// Gradients that a backward pass adds up from the last segment to the first.
struct Sums {
  TttWeights state;           // of the fast weights before the mini-batch at hand, [P,...]
  Tensor gain, bias, scale;   // [P,1,K], [P,1,K], [P,C]
  Tensor dq, dk, dv, dsigma;  // of a segment, [P,S,C,...]
};

// The gradients of the queries' pass over a segment, and what they leave for the keys' pass.
struct QueriesBackward {
  Tensors dx, dg;  // by layer, [P,S,C,...]: of X_l and G_l
  Tensors dw, dc;  // by layer, [P,S,...]: what Zq_l = Xq_l W_l + c_l gives
};

QueriesBackward backward_queries(const SegmentPass& segment, const Tensor& d_o, const Tensors& x, const Tensors& g,
                                 Sums& sums) {
  const Call& call = segment.call;
  const TttWeights weights = segment.weights();
  const InnerNorm norm = segment.norm();
  const Tensor sigma = segment.all(call.sigma), rates = segment.rates();
  const InnerQueries queries = inner_output(call.net, segment.all(call.q), rates, x, g, weights, norm);
  const std::size_t last = call.net.layers.size() - 1;
  QueriesBackward out;
  out.dx.resize(last + 1), out.dg.resize(last + 1), out.dw.resize(last + 1), out.dc.resize(last + 1);

  // U_L = dZq_L
  Tensor u = d_o;
  if (call.net.learner.layer_norm) {
    const InnerNormalised n = inner_normalise(queries.z[last]);
    sums.gain += (d_o * n.xh).sum({1, 2}).unsqueeze(1);
    sums.bias += d_o.sum({1, 2}).unsqueeze(1);
    u = normalise_backward(norm.gain * d_o, n);
  }
  sums.dsigma = at::zeros_like(sigma);
  for (std::size_t l = last + 1; l-- > 0;) {
    // dN = -M (.) (U G^T);  dA = E (.) dN;  dE = (A + 1) (.) dN, or A (.) dN where there are no biases
    const Tensor a = call.net.update.biases ? queries.a[l] + 1 : queries.a[l];
    const Tensor dn = -at::matmul(u, transposed(g[l])).tril(), de = a * dn, da = rates * dn;
    sums.dsigma += at::matmul(transposed(de), call.scale_C);
    sums.scale += at::matmul(de, sigma.unsqueeze(-1)).squeeze(-1).sum(1);
    // dXq = U W^T + dA X;  dX = dA^T Xq + ...;  dG = -N^T U - ...
    const Tensor dxq = at::matmul(u, transposed(weight_of(weights, l))) + at::matmul(da, x[l]);
    out.dx[l] = at::matmul(transposed(da), queries.x[l]);
    out.dg[l] = -at::matmul(transposed(queries.n[l]), u);
    out.dw[l] = at::matmul(transposed(queries.x[l]), u);
    out.dc[l] = u.sum(2, /*keepdim=*/true);
    if (l == 0) {
      sums.dq = call.net.learner.residual ? d_o + dxq : dxq;
    } else {
      u = times_gelu_first(dxq, queries.z[l - 1]);
    }
  }
  return out;
}

// The gradients of the inner loss's gradient: of Z_L and of D = y - target, for Gam = dG_L. Adds to gain and bias.
struct LossBackward {
  Tensor dz, dd;
};
LossBackward backward_loss(const Call& call, const Tensor& gam, const Tensor& target, const InnerKeys& keys,
                           Sums& sums) {
  if (!call.net.learner.layer_norm) return {gam, gam};
  const auto& [gain, bias] = call.norm;
  const auto& [xh, r] = keys.norm;
  const Tensor d = gain * xh + bias - target, h = gain * d, dh = normalise_backward(gam, keys.norm), dd = gain * dh;
  sums.gain += (dh * d + dd * xh).sum(1, true);
  sums.bias += dd.sum(1, true);
  const Tensor dxh = gain * dd - r * ((h * xh).mean(-1, true) * gam + (gam * xh).mean(-1, true) * h);
  return {normalise_backward(dxh, keys.norm) - xh * r * (gam * keys.g.back()).mean(-1, true), dd};
}

// The keys' pass of mini-batch i, whose update gave the state that sums.state is the gradient of.
void backward_keys(const SegmentPass& segment, std::int64_t i, const QueriesBackward& queries, Sums& sums, Tensor& dk,
                   Tensor& dv, Tensor& dsigma) {
  const Call& call = segment.call;
  const InnerKeys& keys = segment.keys[i];
  const TttWeights& weights = segment.start[i];
  const std::size_t last = call.net.layers.size() - 1;
  const Tensor sigma = segment.of_step(call.sigma, i), last_scale = call.scale_C[call.C - 1];
  const Tensor e = (last_scale * sigma).unsqueeze(-1);
  Tensors dx(last + 1), dg(last + 1), db(last), dz(last + 1);

  // The update: dG -= e (.) (X dW' + 1 dc');  dX -= e (.) R,  R = G dW'^T;  de = -(sum X (.) R + G dc'^T). Where there
  // are no biases, dc' adds nothing.
  const bool biases = call.net.update.biases;
  Tensor de;
  for (std::size_t l = 0; l <= last; ++l) {
    const Tensor &dw = weight_of(sums.state, l), &dc = bias_of(sums.state, l);
    const Tensor r = at::matmul(keys.g[l], transposed(dw));
    const Tensor x_dw = at::matmul(keys.x[l], dw), x_r = (keys.x[l] * r).sum(-1);
    dg[l] = queries.dg[l].select(1, i) - e * (biases ? x_dw + dc : x_dw);
    dx[l] = queries.dx[l].select(1, i) - e * r;
    const Tensor part = biases ? x_r + (keys.g[l] * dc).sum(-1) : x_r;
    de = de.defined() ? de - part : -part;
  }
  dsigma = sums.dsigma.select(1, i) + last_scale * de;
  sums.scale.select(1, -1) += (sigma * de).sum(1);

  // Through G_l = B_l (.) phi'(Z_l), B_l = G_{l+1} W_{l+1}^T:  dB_l = dG_l (.) phi'(Z_l);  dG_{l+1} += dB_l W_{l+1}
  for (std::size_t l = 0; l < last; ++l) {
    db[l] = times_gelu_first(dg[l], keys.z[l]);
    dg[l + 1] = dg[l + 1] + at::matmul(db[l], weight_of(weights, l + 1));
  }
  // dZ_L, dD;  dX_l += dZ_l W_l^T;  dZ_{l-1} = dX_l (.) phi'(Z_{l-1}) + dG_{l-1} (.) B_{l-1} (.) phi''(Z_{l-1})
  const LossBackward loss = backward_loss(call, dg[last], segment.of_step(call.target, i), keys, sums);
  dz[last] = loss.dz;
  for (std::size_t l = last + 1; l-- > 0;) {
    dx[l] = dx[l] + at::matmul(dz[l], transposed(weight_of(weights, l)));
    if (l > 0)
      dz[l - 1] = times_gelu_first(dx[l], keys.z[l - 1]) + dg[l - 1] * keys.b[l - 1] * gelu_second(keys.z[l - 1]);
  }
  dk = call.net.learner.residual ? dx[0] + loss.dd : dx[0];
  dv = -loss.dd;

  // dW_l = dW_l' + Xq_l^T U_l + X_l^T dZ_l + dB_{l-1}^T G_l;  dc_l = dc_l' + sum U_l + sum dZ_l
  for (std::size_t l = 0; l <= last; ++l) {
    Tensor &dw = sums.state[2 * l], &dc = sums.state[2 * l + 1];
    dw = dw + queries.dw[l].select(1, i) + at::matmul(transposed(keys.x[l]), dz[l]);
    if (l > 0) dw += at::matmul(transposed(db[l - 1]), keys.g[l]);
    dc = dc + queries.dc[l].select(1, i) + dz[l].sum(1, true);
  }
}

TttGradients composed_backward(const TttNet& net, const Tensor& grad_o_BHTK, const TttInputs& inputs,
                               const TttWeights& initial, std::int64_t mini_batch_size, const TttSaved& saved) {
  if (net.update.steps > 1) return sequence_backward(net, grad_o_BHTK, inputs, initial);
  const Call call(net, inputs, mini_batch_size);
  const Tensor d_o = in_mini_batches(grad_o_BHTK, call.C);
  Sums sums;
  for (const Tensor& w : saved) sums.state.push_back(at::zeros_like(w[0]));  // nobody reads the state after the end
  sums.gain = at::zeros_like(call.norm.gain), sums.bias = at::zeros_like(call.norm.bias);
  sums.scale = at::zeros({call.B * call.H, call.C}, call.scale_C.options());
  Tensors dq, dk, dv, dsigma;  // of segments and mini-batches, from the last to the first
  for (std::int64_t n = call.segments - 1; n >= 0; --n) {
    TttWeights weights;
    for (const Tensor& w : saved) weights.push_back(w[n]);
    const SegmentPass segment(call, n, std::move(weights), /*want_end=*/false);
    const QueriesBackward queries = backward_queries(segment, segment.all(d_o), segment.by_layer(&InnerKeys::x),
                                                     segment.by_layer(&InnerKeys::g), sums);
    dq.push_back(sums.dq);
    for (std::int64_t i = segment.count - 1; i >= 0; --i) {
      Tensor dk_i, dv_i, dsigma_i;
      backward_keys(segment, i, queries, sums, dk_i, dv_i, dsigma_i);
      dk.push_back(dk_i), dv.push_back(dv_i), dsigma.push_back(dsigma_i);
    }
  }
  for (Tensors* list : {&dq, &dk, &dv, &dsigma}) std::reverse(list->begin(), list->end());
  const auto over_batch = [&](const Tensor& x) { return x.unflatten(0, {call.B, call.H}).sum(0); };
  const auto of_tokens = [&](const Tensors& list) { return call.of_tokens(at::stack(list, 1)); };
  TttGradients grad;
  grad.inputs = {call.of_tokens(at::cat(dq, 1)),
                 of_tokens(dk),
                 of_tokens(dv),
                 of_tokens(dsigma),
                 sums.scale.sum(0),
                 over_batch(sums.gain).squeeze(1),
                 over_batch(sums.bias).squeeze(1)};
  for (std::size_t w = 0; w < sums.state.size(); ++w)
    grad.initial.push_back(over_batch(sums.state[w]).view(initial[w].sizes()));
  return grad;
}

}  // namespace

TttKernel composed_ttt_kernel() {
  return {{"composed", {.dtypes = {at::kFloat, at::kDouble}}}, {composed_forward, composed_backward}};
}

}  // namespace ttt
