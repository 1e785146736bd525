// TTT-Linear, fused: one head. Names: reference/ttt_reference.h. Included by ttt_fused_impl.h.
#pragma once

#include "kernels/cpu/ttt_fused_head.h"

namespace ttt::kernels {
namespace {

class LinearPass : public HeadPass {
 public:
  LinearPass(const TttHead& head, bool backward, Arena& arena)
      : HeadPass(head, backward ? head.segment : 1, arena),
        w_(steps(backward ? head.segment : 1, head.state_size(), arena)),
        z_(arena.take(2 * C * K)),
        own_(arena.take(head.kept_size())),
        x_t_(arena.take(K * 2 * P)),
        ng_(arena.take(C * K)) {
    if (!backward) return;
    grad_o_ = arena.take(C * K);
    u_dz_ = arena.take(2 * C * K);
    da_ = arena.take(C * P);
    gam_ = arena.take(C * K);
    g_t_ = arena.take(K * P);
    dd_ = arena.take(C * K);
    x_ = arena.take((2 * C + 15) * K);
    scratch_ = arena.take(2 * K * (2 * C + 16));
    dqk_ = arena.take(2 * C * K);
    dsigma_ = arena.take(P);
    de_ = arena.take(P);
  }

  void forward(const TttHeadOutputs& result) {
    copy(w_[0], head_.w1, K * K);
    copy(w_[0] + K * K, head_.b1, K);
    for (std::int64_t n = 0; n < head_.mini_batches(); ++n) {
      if (result.starts != nullptr && n % head_.segment == 0)
        copy(result.starts + n / head_.segment * head_.state_size(), w_[0], head_.state_size());
      const Kept kept = parts(result.kept == nullptr ? own_ : result.kept + n * head_.kept_size());
      read(0, n);
      masks(0);
      step(kept);
      store(o, n, result.o);
      update(0, kept, w_[0]);
    }
  }

  void backward(const TttHeadGradients& d) {
    zero(d.dstate, head_.state_size());
    zero(d.dscale, C), zero(d.dgain, K), zero(d.dbias, K);
    for (std::int64_t segment = head_.segments() - 1; segment >= 0; --segment) {
      const std::int64_t first = segment * head_.segment, left = head_.mini_batches() - first,
                         count = left < head_.segment ? left : head_.segment;
      copy(w_[0], d.starts + segment * head_.state_size(), head_.state_size());
      for (std::int64_t i = 0; i < count; ++i) {
        read(i, first + i);
        if (i + 1 == count) break;
        copy(w_[i + 1], w_[i], head_.state_size());
        update(i, parts(d.kept + (first + i) * head_.kept_size()), w_[i + 1]);
      }
      for (std::int64_t i = count - 1; i >= 0; --i) step_backward(i, first + i, d);
    }
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

  void step_backward(std::int64_t i, std::int64_t n, const TttHeadGradients& d) {
    const float* w = w_[i];
    const Kept kept = parts(d.kept + n * head_.kept_size());
    float *dw = d.dstate, *dc = d.dstate + K * K, *u = u_dz_, *dz = u_dz_ + C * K, *dq = dqk_, *dk = dqk_ + C * K;
    const std::int64_t first = first_token(n), count = tokens(n);
    for (std::int64_t c = 0; c < count; ++c) copy_row(grad_o_ + c * K, d.o[first + c], K);
    zero(grad_o_ + count * K, (C - count) * K);
    zero(dsigma_, P), zero(de_, P);

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
    for (std::int64_t f = 0; f < C * K; f += 16) {
      const Lanes<float> dd = load_lanes(dd_ + f);
      save(dq + f, Lanes<float>(load_lanes(dq + f) + load_lanes(x_ + f)));
      save(dk + f, Lanes<float>(load_lanes(dk + f) + load_lanes(x_ + C * K + f) + dd));
      save(dd_ + f, Lanes<float>(-dd));
    }
    store(dq, n, d.dq);
    store(dk, n, d.dk);
    store(dd_, n, d.dv);
    copy(d.dsigma + first, dsigma_, count);

    // dW = dW' + Q^T U + K^T dZ;  dc = dc' + sum U + sum dZ
    product<Store::kAdd>(K, K, 2 * C, {qk[i], 1, K}, u_dz_, K, dw, K);
    add_rows(u_dz_, 2 * C, K, K, 1, dc);
  }

  PerStep w_;   // the fast weights of each mini-batch: W [K,K], then c [K]
  float* z_;    // rows of Zq, then of Z
  float* own_;  // what is not kept for a backward pass
  float *x_t_, *ng_;
  float *grad_o_ = nullptr, *u_dz_ = nullptr, *da_ = nullptr, *gam_ = nullptr, *g_t_ = nullptr, *dd_ = nullptr,
        *x_ = nullptr, *scratch_ = nullptr, *dqk_ = nullptr, *dsigma_ = nullptr, *de_ = nullptr;
};

}  // namespace
}  // namespace ttt::kernels
