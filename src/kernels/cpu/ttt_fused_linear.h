// TTT-Linear, fused: one head. Names: reference/ttt_reference.h. Included by ttt_fused_impl.h.
#pragma once

#include "kernels/cpu/ttt_fused_head.h"

namespace ttt::kernels {
namespace {

class LinearPass : public HeadPass {
 public:
  LinearPass(const TttHead& head, bool backward, Arena& arena)
      : HeadPass(head, backward, arena),
        z_(arena.take(2 * C * K)),
        own_(arena.take(head.kept_size())),
        x_t_(arena.take(K * 2 * P)),
        ng_(arena.take(C * K)) {
    if (!backward) return;
    u_dz_ = arena.take(2 * C * K);
    gam_ = arena.take(C * K);
    g_t_ = arena.take(K * P);
    scratch_ = arena.take(2 * K * (2 * C + 16));
  }

  void forward(const TttHeadOutputs& result) {
    copy(w_[0], head_.w1, K * K);
    copy(w_[0] + K * K, head_.b1, K);
    for (std::int64_t n = 0; n < head_.mini_batches(); ++n) {
      keep_start(result, n);
      const Kept kept = parts(result.kept == nullptr ? own_ : result.kept + n * head_.kept_size());
      read(0, n);
      masks(0);
      step(kept);
      store(o, n, result.o);
      update(0, kept, w_[0]);
    }
  }

  void backward(const TttHeadGradients& d) {
    const auto kept = [&](std::int64_t n) { return parts(d.kept + n * head_.kept_size()); };
    backward_segments(
        d, [](std::int64_t, std::int64_t) {}, [&](std::int64_t i, std::int64_t n, float* w) { update(i, kept(n), w); },
        [&](std::int64_t i, std::int64_t n) { step_backward(i, n, kept(n), d); });
  }

 private:
  // What a mini-batch's forward pass leaves: of Z, G and of Zq.
  struct Kept {
    float *xh, *g, *xhq, *r, *rq;
  };
  Kept parts(float* kept) const {
    return {kept, kept + C * K, kept + 2 * C * K, kept + 3 * C * K, kept + 3 * C * K + P};
  }

  // A = Q K^T;  N
  void masks(std::int64_t i) {
    transpose(C, K, k(i), K, x_t_, P);
    dual_mask(i, q(i), x_t_, K, K, a[i], mask[i]);
  }

  // [Zq; Z] = [Q; K] W, the biases are added by the norms;  G;  Zq - N G;  O = Q + LN(Zq)
  void step(const Kept& kept) {
    const float *w = w_[0], *c = w + K * K;
    product(2 * C, K, K, {qk[0], K, 1}, w, K, z_, K);
    inner_gradient_rows(C, K, z_ + C * K, c, target[0], head_.gain, head_.bias, kept.g, kept.xh, kept.r);
    product<Store::kSet, Terms::kUpToRow>(C, K, C, {mask[0], P, 1}, kept.g, K, ng_, K);
    output_norm_rows(C, K, z_, c, ng_, q(0), head_.gain, head_.bias, o, kept.xhq, kept.rq);
  }

  // W' = W - K^T (e (.) G);  c' = c - e^T G, in place
  void update(std::int64_t i, const Kept& kept, float* w) {
    scale_rows_by_e(i, kept.g, K, K, ng_);
    product<Store::kSubtract>(K, K, C, {k(i), 1, K}, ng_, K, w, K);
    add_rows(ng_, C, K, K, -1, w + K * K);
  }

  void step_backward(std::int64_t i, std::int64_t n, const Kept& kept, const TttHeadGradients& d) {
    const float* w = w_[i];
    float *dw = d.dstate, *dc = d.dstate + K * K, *u = u_dz_, *dz = u_dz_ + C * K, *dq = dqk_, *dk = dqk_ + C * K;
    begin_backward(n, d);

    masks(i);

    // U = dZq;  dN = -M (.) (U G^T), dA, dE;  dQ = dO + dA K;  dK = dA^T Q;  Gam = -N^T U - e (.) (K dW' + 1 dc')
    output_norm_backward_rows(C, K, grad_o_, kept.xhq, kept.rq, head_.gain, u, d.dgain, d.dbias);
    transpose(C, K, kept.g, K, g_t_, P);
    dual_mask_backward(i, u, g_t_, K, K, a[i], da_, dsigma_, d.dscale);
    copy(dq, grad_o_, C * K);
    product<Store::kAdd, Terms::kUpToRow>(C, K, C, {da_, P, 1}, k(i), K, dq, K);
    product<Store::kSet, Terms::kFromRow>(C, K, C, {da_, 1, P}, q(i), K, dk, K);
    zero(gam_, C * K);
    product<Store::kSubtract, Terms::kFromRow>(C, K, C, {mask[i], 1, P}, u, K, gam_, K);
    product(C, K, K, {k(i), K, 1}, dw, K, x_, K);
    subtract_scaled(i, x_, dc, K, K, gam_);

    // R = G dW'^T;  de_j = -(K_j . R_j + G_j . dc')
    product_transposed(C, K, K, g_t_, dw, K, x_, K, scratch_);
    subtract_dots(k(i), x_, K, K, K, de_);
    subtract_dots(kept.g, dc, 0, K, K, de_);
    rate_backward(i, de_, dsigma_, d.dscale);
    subtract_scaled(i, x_, nullptr, K, K, dk);

    // dZ, dD;  [dQ; dK] += [U; dZ] W^T;  dK += dD;  dV = -dD
    inner_gradient_backward_rows(C, K, gam_, target[i], kept.g, kept.xh, kept.r, head_.gain, head_.bias, dz, dd_,
                                 d.dgain, d.dbias);
    transpose(2 * C, K, u_dz_, K, x_t_, (2 * C + 15) / 16 * 16);
    product_transposed(2 * C, K, K, x_t_, w, K, x_, K, scratch_);
    store_input_gradients(n, d);

    // dW = dW' + Q^T U + K^T dZ;  dc = dc' + sum U + sum dZ
    product<Store::kAdd>(K, K, 2 * C, {qk[i], 1, K}, u_dz_, K, dw, K);
    add_rows(u_dz_, 2 * C, K, K, 1, dc);
  }

  float* z_;    // rows of Zq, then of Z
  float* own_;  // what is not kept for a backward pass
  float *x_t_, *ng_;
  float *u_dz_ = nullptr, *gam_ = nullptr, *g_t_ = nullptr, *scratch_ = nullptr;
};

}  // namespace
}  // namespace ttt::kernels
