// TTT-MLP, fused: one head. Names: reference/ttt_reference.h. Included by ttt_fused_impl.h.
#pragma once

#include "kernels/cpu/ttt_fused_head.h"

namespace ttt::kernels {
namespace {

class MlpPass : public HeadPass {
 public:
  MlpPass(const TttHead& head, bool backward, Arena& arena)
      : HeadPass(head, backward, arena), M(head.hidden), S(head.hidden_step()) {
    xh_ = steps(kept_, C * K, arena);
    r_ = steps(kept_, C, arena);
    xhq_ = steps(kept_, C * K, arena);
    rq_ = steps(kept_, C, arena);
    z1_ = steps(kept_, 2 * C * S, arena);
    t1_ = steps(kept_, 2 * C * S, arena);
    x2_ = steps(kept_, 3 * C * S, arena);
    b_ = steps(kept_, C * S, arena);
    g1_ = steps(kept_, C * S, arena);
    u_dz_g2_ = steps(kept_, 3 * C * K, arena);
    a2_ = steps(kept_, C * P, arena);
    mask2_ = steps(kept_, C * P, arena);
    z2_ = arena.take(C * K);
    x_t_ = arena.take(M * 2 * P);
    ck_ = arena.take(C * K);
    cm_ = arena.take(C * S);
    scratch_ = arena.take(2 * M * (2 * C + 16));
    if (!backward) return;
    g2_t_ = arena.take(K * P);
    dx2_ = arena.take(C * S);
    dg2_ = arena.take(C * K);
    dg1_ = arena.take(C * S);
    u1_dz1_ = arena.take(2 * C * S);
  }

  void forward(const TttHeadOutputs& result) {
    start(w_[0]);
    for (std::int64_t n = 0; n < head_.mini_batches(); ++n) {
      keep_start(result, n);
      read(0, n);
      step(0, /*want_output=*/true);
      store(o, n, result.o);
      update(0, w_[0]);
    }
  }

  void backward(const TttHeadGradients& d) {
    backward_segments(
        d, [&](std::int64_t i, std::int64_t) { step(i, /*want_output=*/false); },
        [&](std::int64_t i, std::int64_t, float* w) { update(i, w); },
        [&](std::int64_t i, std::int64_t n) { step_backward(i, n, d); });
  }

 private:
  // The parts of a state (or of its gradient).
  struct State {
    float *w1, *c1, *w2, *c2;
  };
  State parts(float* state) const { return {state, state + K * S, state + K * S + M, state + K * S + M + M * K}; }
  void start(float* state) const {
    const State w = parts(state);
    zero(w.w1, K * S);
    for (std::int64_t f = 0; f < K; ++f) copy(w.w1 + f * S, head_.w1 + f * M, M);
    copy(w.c1, head_.b1, M), copy(w.w2, head_.w2, M * K), copy(w.c2, head_.b2, K);
  }

  float* z1q(std::int64_t i) const { return z1_[i]; }
  float* z1(std::int64_t i) const { return z1_[i] + C * S; }
  float* t1q(std::int64_t i) const { return t1_[i]; }
  float* t1(std::int64_t i) const { return t1_[i] + C * S; }
  float* x2q(std::int64_t i) const { return x2_[i]; }
  float* x2(std::int64_t i) const { return x2_[i] + C * S; }
  float* db(std::int64_t i) const { return x2_[i] + 2 * C * S; }
  float* g2(std::int64_t i) const { return u_dz_g2_[i] + 2 * C * K; }

  void gelu(float* z, const float* c, float* t, float* x) const { gelu_rows(C, M, S, z, c, t, x); }

  void step(std::int64_t i, bool want_output) {
    const State w = parts(w_[i]);
    // [Q; K] W1;  Z1 = K W1 + c1;  X2 = phi(Z1);  Z2 = X2 W2 + c2;  G2
    product(2 * C, M, K, {qk[i], K, 1}, w.w1, S, z1_[i], S);
    gelu(z1(i), w.c1, t1(i), x2(i));
    product(C, K, M, {x2(i), S, 1}, w.w2, K, z2_, K);
    inner_gradient_rows(C, K, z2_, w.c2, target[i], head_.gain, head_.bias, g2(i), xh_[i], r_[i]);
    // B = G2 W2^T;  G1 = B (.) phi'(Z1)
    transpose(C, K, g2(i), K, x_t_, P);
    product_transposed(C, M, K, x_t_, w.w2, K, b_[i], S, scratch_);
    gelu_first_rows(C, M, S, b_[i], z1(i), t1(i), g1_[i]);
    // Z1q = Q W1 + c1 - N1 G1;  X2q = phi(Z1q)
    transpose(C, K, k(i), K, x_t_, P);
    dual_mask(i, q(i), x_t_, K, K, a[i], mask[i]);
    product<Store::kSubtract, Terms::kUpToRow>(C, M, C, {mask[i], P, 1}, g1_[i], S, z1q(i), S);
    gelu(z1q(i), w.c1, t1q(i), x2q(i));
    // N2 = M (.) E (.) (X2q X2^T + 1);  Z2q = X2q W2 + c2 - N2 G2;  O = Q + LN(Z2q)
    transpose(C, M, x2(i), S, x_t_, P);
    dual_mask(i, x2q(i), x_t_, M, S, a2_[i], mask2_[i]);
    product(C, K, M, {x2q(i), S, 1}, w.w2, K, z2_, K);
    product<Store::kSet, Terms::kUpToRow>(C, K, C, {mask2_[i], P, 1}, g2(i), K, ck_, K);
    output_norm_rows(C, K, z2_, w.c2, ck_, q(i), head_.gain, head_.bias, want_output ? o : nullptr, xhq_[i], rq_[i]);
  }

  // W1' = W1 - K^T (e (.) G1);  W2' = W2 - X2^T (e (.) G2);  c1' = c1 - e^T G1;  c2' = c2 - e^T G2, in place
  void update(std::int64_t i, float* state) {
    const State w = parts(state);
    scale_rows_by_e(i, g1_[i], M, S, cm_);
    product<Store::kSubtract>(K, M, C, {k(i), 1, K}, cm_, S, w.w1, S);
    add_rows(cm_, C, M, S, -1, w.c1);
    scale_rows_by_e(i, g2(i), K, K, ck_);
    product<Store::kSubtract>(M, K, C, {x2(i), 1, S}, ck_, K, w.w2, K);
    add_rows(ck_, C, K, K, -1, w.c2);
  }

  void step_backward(std::int64_t i, std::int64_t n, const TttHeadGradients& d) {
    const State w = parts(w_[i]), dw = parts(d.dstate);
    float *u2 = u_dz_g2_[i], *dz2 = u2 + C * K, *u1 = u1_dz1_, *dz1 = u1_dz1_ + C * S, *dq = dqk_, *dk = dqk_ + C * K;
    begin_backward(n, d);

    // U2 = dZ2q;  dN2 = -M (.) (U2 G2^T), dA2, dE;  dX2q = U2 W2^T + dA2 X2;  dX2 = dA2^T X2q;  dG2 = -N2^T U2
    output_norm_backward_rows(C, K, grad_o_, xhq_[i], rq_[i], head_.gain, u2, d.dgain, d.dbias);
    transpose(C, K, g2(i), K, g2_t_, P);
    dual_mask_backward(i, u2, g2_t_, K, K, a2_[i], da_, dsigma_, d.dscale);
    transpose(C, K, u2, K, x_t_, P);
    product_transposed(C, M, K, x_t_, w.w2, K, cm_, S, scratch_);
    product<Store::kAdd, Terms::kUpToRow>(C, M, C, {da_, P, 1}, x2(i), S, cm_, S);
    product<Store::kSet, Terms::kFromRow>(C, M, C, {da_, 1, P}, x2q(i), S, dx2_, S);
    zero(dg2_, C * K);
    product<Store::kSubtract, Terms::kFromRow>(C, K, C, {mask2_[i], 1, P}, u2, K, dg2_, K);
    // U1 = dX2q (.) phi'(Z1q);  dN1 = -M (.) (U1 G1^T), dA1, dE;  dQ = dO + dA1 K;  dK = dA1^T Q;  dG1 = -N1^T U1
    gelu_first_rows(C, M, S, cm_, z1q(i), t1q(i), u1);
    transpose(C, M, g1_[i], S, x_t_, P);
    dual_mask_backward(i, u1, x_t_, M, S, a[i], da_, dsigma_, d.dscale);
    copy(dq, grad_o_, C * K);
    product<Store::kAdd, Terms::kUpToRow>(C, K, C, {da_, P, 1}, k(i), K, dq, K);
    product<Store::kSet, Terms::kFromRow>(C, K, C, {da_, 1, P}, q(i), K, dk, K);
    zero(dg1_, C * S);
    product<Store::kSubtract, Terms::kFromRow>(C, M, C, {mask[i], 1, P}, u1, S, dg1_, S);
    // R1 = G1 dW1'^T;  dK -= e (.) R1;  R2 = G2 dW2'^T;  dX2 -= e (.) R2
    product_transposed(C, K, M, x_t_, dw.w1, S, ck_, K, scratch_);
    subtract_dots(k(i), ck_, K, K, K, de_);
    subtract_scaled(i, ck_, nullptr, K, K, dk);
    product_transposed(C, M, K, g2_t_, dw.w2, K, cm_, S, scratch_);
    subtract_dots(x2(i), cm_, S, M, S, de_);
    subtract_scaled(i, cm_, nullptr, M, S, dx2_);
    subtract_dots(g1_[i], dw.c1, 0, M, S, de_);
    subtract_dots(g2(i), dw.c2, 0, K, K, de_);
    rate_backward(i, de_, dsigma_, d.dscale);
    // dG2 -= e (.) (X2 dW2' + 1 dc2');  dG1 -= e (.) (K dW1' + 1 dc1')
    product(C, K, M, {x2(i), S, 1}, dw.w2, K, ck_, K);
    subtract_scaled(i, ck_, dw.c2, K, K, dg2_);
    product(C, M, K, {k(i), K, 1}, dw.w1, S, cm_, S);
    subtract_scaled(i, cm_, dw.c1, M, S, dg1_);
    // dB = dG1 (.) phi'(Z1);  dG2 += dB W2;  dZ2, dD;  dX2 += dZ2 W2^T;  dZ1 = dX2 (.) phi'(Z1) + dG1 (.) B (.) phi''
    gelu_first_rows(C, M, S, dg1_, z1(i), t1(i), db(i));
    product<Store::kAdd>(C, K, M, {db(i), S, 1}, w.w2, K, dg2_, K);
    inner_gradient_backward_rows(C, K, dg2_, target[i], g2(i), xh_[i], r_[i], head_.gain, head_.bias, dz2, dd_, d.dgain,
                                 d.dbias);
    transpose(C, K, dz2, K, x_t_, P);
    product_transposed(C, M, K, x_t_, w.w2, K, cm_, S, scratch_);
    for (std::int64_t c = 0; c < C; ++c) {
      for (std::int64_t f = c * S; f < c * S + M; f += 16)
        save(dx2_ + f, Lanes<float>(load_lanes(dx2_ + f) + load_lanes(cm_ + f)));
    }
    gelu_second_rows(C, M, S, dx2_, dg1_, b_[i], z1(i), t1(i), dz1);
    // [dQ; dK] += [U1; dZ1] W1^T;  dK += dD;  dV = -dD
    transpose(2 * C, M, u1_dz1_, S, x_t_, (2 * C + 15) / 16 * 16);
    product_transposed(2 * C, K, M, x_t_, w.w1, S, x_, K, scratch_);
    store_input_gradients(n, d);
    // dW2 = dW2' + X2q^T U2 + X2^T dZ2 + dB^T G2;  dW1 = dW1' + Q^T U1 + K^T dZ1;  dc alike
    product<Store::kAdd>(M, K, 3 * C, {x2_[i], 1, S}, u_dz_g2_[i], K, dw.w2, K);
    add_rows(u2, 2 * C, K, K, 1, dw.c2);
    product<Store::kAdd>(K, M, 2 * C, {qk[i], 1, K}, u1_dz1_, S, dw.w1, S);
    add_rows(u1_dz1_, 2 * C, M, S, 1, dw.c1);
  }

  const std::int64_t M, S;  // S: from row to row of what is M wide
  PerStep xh_, r_;          // of Z2
  PerStep xhq_, rq_;        // of Z2q
  PerStep z1_, t1_;         // rows of Z1q, then of Z1; the tanh of their GELU
  PerStep x2_;              // rows of X2q, X2, dB
  PerStep b_, g1_;          // B, G1
  PerStep u_dz_g2_;         // rows of U2, dZ2, G2
  PerStep a2_, mask2_;
  float *z2_, *x_t_, *ck_, *cm_, *scratch_;  // ck, cm: [C,K] and [C,M] of no lasting meaning
  float *g2_t_ = nullptr, *dx2_ = nullptr, *dg2_ = nullptr, *dg1_ = nullptr, *u1_dz1_ = nullptr;
};

}  // namespace
}  // namespace ttt::kernels
