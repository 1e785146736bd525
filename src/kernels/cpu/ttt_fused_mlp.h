// TTT-MLP, fused: one head. Names: reference/ttt_reference.h. Included by ttt_fused_impl.h.
#pragma once

#include "kernels/cpu/lanes_math.h"
#include "kernels/cpu/ttt_fused_head.h"

namespace ttt::kernels {
namespace {

class MlpPass : public HeadPass {
 public:
  MlpPass(const TttHead& head, bool backward, Arena& arena)
      : HeadPass(head, backward ? head.segment : 1, arena), M(head.hidden) {
    const std::int64_t kept = backward ? head.segment : 1;
    w_ = steps(kept, head.state_size(), arena);
    z1_ = steps(kept, 2 * C * M, arena);
    t1_ = steps(kept, 2 * C * M, arena);
    x2_ = steps(kept, 3 * C * M, arena);
    b_ = steps(kept, C * M, arena);
    g1_ = steps(kept, C * M, arena);
    u_dz_g2_ = steps(kept, 3 * C * K, arena);
    a2_ = steps(kept, C * P, arena);
    mask2_ = steps(kept, C * P, arena);
    z2_ = arena.take(C * K);
    x_t_ = arena.take(M * 2 * P);
    ck_ = arena.take(C * K);
    cm_ = arena.take(C * M);
    scratch_ = arena.take(2 * M * (2 * C + 16));
    if (!backward) return;
    grad_o_ = arena.take(C * K);
    da_ = arena.take(C * P);
    g2_t_ = arena.take(K * P);
    dx2_ = arena.take(C * M);
    dg2_ = arena.take(C * K);
    dg1_ = arena.take(C * M);
    u1_dz1_ = arena.take(2 * C * M);
    dd_ = arena.take(C * K);
    x_ = arena.take(2 * C * K);
    dqk_ = arena.take(2 * C * K);
    dsigma_ = arena.take(P);
    de_ = arena.take(P);
  }

  void forward(const TttHeadOutputs& result) {
    start(w_[0]);
    for (std::int64_t n = 0; n < head_.mini_batches(); ++n) {
      if (result.starts != nullptr && n % head_.segment == 0)
        copy(result.starts + n / head_.segment * head_.state_size(), w_[0], head_.state_size());
      read(0, n);
      step(0, /*want_output=*/true);
      store(o, n, result.o);
      update(0, w_[0]);
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
        step(i, /*want_output=*/false);
        if (i + 1 == count) break;
        copy(w_[i + 1], w_[i], head_.state_size());
        update(i, w_[i + 1]);
      }
      for (std::int64_t i = count - 1; i >= 0; --i) step_backward(i, first + i, d);
    }
  }

 private:
  // The parts of a state (or of its gradient).
  struct State {
    float *w1, *c1, *w2, *c2;
  };
  State parts(float* state) const { return {state, state + K * M, state + K * M + M, state + 2 * K * M + M}; }
  void start(float* state) const {
    const State w = parts(state);
    copy(w.w1, head_.w1, K * M), copy(w.c1, head_.b1, M), copy(w.w2, head_.w2, M * K), copy(w.c2, head_.b2, K);
  }

  float* z1q(std::int64_t i) const { return z1_[i]; }
  float* z1(std::int64_t i) const { return z1_[i] + C * M; }
  float* t1q(std::int64_t i) const { return t1_[i]; }
  float* t1(std::int64_t i) const { return t1_[i] + C * M; }
  float* x2q(std::int64_t i) const { return x2_[i]; }
  float* x2(std::int64_t i) const { return x2_[i] + C * M; }
  float* db(std::int64_t i) const { return x2_[i] + 2 * C * M; }
  float* g2(std::int64_t i) const { return u_dz_g2_[i] + 2 * C * K; }

  // z += c;  t = tanh(k (z + a z^3)), the tanh of GELU;  x = phi(z) = z/2 (1 + t). [C,M]
  void gelu(float* z, const float* c, float* t, float* x) const {
    for (std::int64_t row = 0; row < C; ++row) {
      for (std::int64_t f = 0; f < M; f += 16) {
        const std::int64_t at = row * M + f;
        const Lanes<float> z_f = load_lanes(z + at) + load_lanes(c + f);
        const Lanes<float> u = static_cast<float>(kGeluK) * z_f * (1.0f + static_cast<float>(kGeluA) * z_f * z_f);
        const Lanes<float> t_f = 1.0f - 2.0f / (exp_of(2.0f * u) + 1.0f);
        save(z + at, z_f);
        save(t + at, t_f);
        save(x + at, Lanes<float>(0.5f * z_f * (1.0f + t_f)));
      }
    }
  }

  void step(std::int64_t i, bool want_output) {
    const State w = parts(w_[i]);
    // [Q; K] W1;  Z1 = K W1 + c1;  X2 = phi(Z1);  Z2 = X2 W2 + c2;  G2
    product(2 * C, M, K, {qk[i], K, 1}, w.w1, M, z1_[i], M);
    gelu(z1(i), w.c1, t1(i), x2(i));
    product(C, K, M, {x2(i), M, 1}, w.w2, K, z2_, K);
    inner_gradient_impl<float>(rows(K), in(z2_), w.c2, in(target[i]), head_.gain, head_.bias, out(g2(i)), out(xh[i]),
                               r[i]);
    // B = G2 W2^T;  G1 = B (.) phi'(Z1)
    transpose(C, K, g2(i), K, x_t_, P);
    product_transposed(C, M, K, x_t_, w.w2, b_[i], scratch_);
    gelu_first_impl<float>(rows(M), in(b_[i]), in(z1(i)), in(t1(i)), out(g1_[i]));
    // Z1q = Q W1 + c1 - N1 G1;  X2q = phi(Z1q)
    transpose(C, K, k(i), K, x_t_, P);
    dual_mask(i, q(i), x_t_, K, a[i], mask[i]);
    product<Store::kSubtract, Terms::kUpToRow>(C, M, C, {mask[i], P, 1}, g1_[i], M, z1q(i), M);
    gelu(z1q(i), w.c1, t1q(i), x2q(i));
    // N2 = M (.) E (.) (X2q X2^T + 1);  Z2q = X2q W2 + c2 - N2 G2;  O = Q + LN(Z2q)
    transpose(C, M, x2(i), M, x_t_, P);
    dual_mask(i, x2q(i), x_t_, M, a2_[i], mask2_[i]);
    product(C, K, M, {x2q(i), M, 1}, w.w2, K, z2_, K);
    product<Store::kSet, Terms::kUpToRow>(C, K, C, {mask2_[i], P, 1}, g2(i), K, ck_, K);
    output_norm_impl<float>(rows(K), in(z2_), w.c2, in(ck_), in(q(i)), head_.gain, head_.bias,
                            out(want_output ? o : nullptr), out(xhq[i]), rq[i]);
  }

  // W1' = W1 - K^T (e (.) G1);  W2' = W2 - X2^T (e (.) G2);  c1' = c1 - e^T G1;  c2' = c2 - e^T G2, in place
  void update(std::int64_t i, float* state) {
    const State w = parts(state);
    scale_rows_by_e(i, g1_[i], M, cm_);
    product<Store::kSubtract>(K, M, C, {k(i), 1, K}, cm_, M, w.w1, M);
    add_rows(cm_, C, M, -1, w.c1);
    scale_rows_by_e(i, g2(i), K, ck_);
    product<Store::kSubtract>(M, K, C, {x2(i), 1, M}, ck_, K, w.w2, K);
    add_rows(ck_, C, K, -1, w.c2);
  }

  void step_backward(std::int64_t i, std::int64_t n, const TttHeadGradients& d) {
    const State w = parts(w_[i]), dw = parts(d.dstate);
    float *u2 = u_dz_g2_[i], *dz2 = u2 + C * K, *u1 = u1_dz1_, *dz1 = u1_dz1_ + C * M, *dq = dqk_, *dk = dqk_ + C * K;
    const std::int64_t first = first_token(n), count = tokens(n);
    for (std::int64_t c = 0; c < count; ++c) copy(grad_o_ + c * K, d.o[first + c], K);
    zero(grad_o_ + count * K, (C - count) * K);
    zero(dsigma_, P), zero(de_, P);

    // U2 = dZ2q;  dN2 = -M (.) (U2 G2^T), dA2, dE;  dX2q = U2 W2^T + dA2 X2;  dX2 = dA2^T X2q;  dG2 = -N2^T U2
    output_norm_backward_impl<float>(rows(K), in(grad_o_), in(xhq[i]), rq[i], head_.gain, out(u2), d.dgain, d.dbias);
    transpose(C, K, g2(i), K, g2_t_, P);
    dual_mask_backward(i, u2, g2_t_, K, a2_[i], da_, dsigma_, d.dscale);
    transpose(C, K, u2, K, x_t_, P);
    product_transposed(C, M, K, x_t_, w.w2, cm_, scratch_);
    product<Store::kAdd, Terms::kUpToRow>(C, M, C, {da_, P, 1}, x2(i), M, cm_, M);
    product<Store::kSet, Terms::kFromRow>(C, M, C, {da_, 1, P}, x2q(i), M, dx2_, M);
    zero(dg2_, C * K);
    product<Store::kSubtract, Terms::kFromRow>(C, K, C, {mask2_[i], 1, P}, u2, K, dg2_, K);
    // U1 = dX2q (.) phi'(Z1q);  dN1 = -M (.) (U1 G1^T), dA1, dE;  dQ = dO + dA1 K;  dK = dA1^T Q;  dG1 = -N1^T U1
    gelu_first_impl<float>(rows(M), in(cm_), in(z1q(i)), in(t1q(i)), out(u1));
    transpose(C, M, g1_[i], M, x_t_, P);
    dual_mask_backward(i, u1, x_t_, M, a[i], da_, dsigma_, d.dscale);
    copy(dq, grad_o_, C * K);
    product<Store::kAdd, Terms::kUpToRow>(C, K, C, {da_, P, 1}, k(i), K, dq, K);
    product<Store::kSet, Terms::kFromRow>(C, K, C, {da_, 1, P}, q(i), K, dk, K);
    zero(dg1_, C * M);
    product<Store::kSubtract, Terms::kFromRow>(C, M, C, {mask[i], 1, P}, u1, M, dg1_, M);
    // R1 = G1 dW1'^T;  dK -= e (.) R1;  R2 = G2 dW2'^T;  dX2 -= e (.) R2
    product_transposed(C, K, M, x_t_, dw.w1, ck_, scratch_);
    subtract_dots(k(i), ck_, K, K, de_);
    subtract_scaled(i, ck_, nullptr, K, dk);
    product_transposed(C, M, K, g2_t_, dw.w2, cm_, scratch_);
    subtract_dots(x2(i), cm_, M, M, de_);
    subtract_scaled(i, cm_, nullptr, M, dx2_);
    subtract_dots(g1_[i], dw.c1, 0, M, de_);
    subtract_dots(g2(i), dw.c2, 0, K, de_);
    rate_backward(i, de_, dsigma_, d.dscale);
    // dG2 -= e (.) (X2 dW2' + 1 dc2');  dG1 -= e (.) (K dW1' + 1 dc1')
    product(C, K, M, {x2(i), M, 1}, dw.w2, K, ck_, K);
    subtract_scaled(i, ck_, dw.c2, K, dg2_);
    product(C, M, K, {k(i), K, 1}, dw.w1, M, cm_, M);
    subtract_scaled(i, cm_, dw.c1, M, dg1_);
    // dB = dG1 (.) phi'(Z1);  dG2 += dB W2;  dZ2, dD;  dX2 += dZ2 W2^T;  dZ1 = dX2 (.) phi'(Z1) + dG1 (.) B (.) phi''
    gelu_first_impl<float>(rows(M), in(dg1_), in(z1(i)), in(t1(i)), out(db(i)));
    product<Store::kAdd>(C, K, M, {db(i), M, 1}, w.w2, K, dg2_, K);
    inner_gradient_backward_impl<float>(rows(K), in(dg2_), in(target[i]), in(g2(i)), in(xh[i]), r[i], head_.gain,
                                        head_.bias, out(dz2), out(dd_), d.dgain, d.dbias);
    transpose(C, K, dz2, K, x_t_, P);
    product_transposed(C, M, K, x_t_, w.w2, cm_, scratch_);
    for (std::int64_t f = 0; f < C * M; f += 16)
      save(dx2_ + f, Lanes<float>(load_lanes(dx2_ + f) + load_lanes(cm_ + f)));
    gelu_second_impl<float>(rows(M), in(dx2_), in(dg1_), in(b_[i]), in(z1(i)), in(t1(i)), out(dz1));
    // [dQ; dK] += [U1; dZ1] W1^T;  dK += dD;  dV = -dD
    transpose(2 * C, M, u1_dz1_, M, x_t_, (2 * C + 15) / 16 * 16);
    product_transposed(2 * C, K, M, x_t_, w.w1, x_, scratch_);
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
    // dW2 = dW2' + X2q^T U2 + X2^T dZ2 + dB^T G2;  dW1 = dW1' + Q^T U1 + K^T dZ1;  dc alike
    product<Store::kAdd>(M, K, 3 * C, {x2_[i], 1, M}, u_dz_g2_[i], K, dw.w2, K);
    add_rows(u2, 2 * C, K, 1, dw.c2);
    product<Store::kAdd>(K, M, 2 * C, {qk[i], 1, K}, u1_dz1_, M, dw.w1, M);
    add_rows(u1_dz1_, 2 * C, M, 1, dw.c1);
  }

  const std::int64_t M;
  PerStep w_;        // the fast weights of each mini-batch: W1, c1, W2, c2
  PerStep z1_, t1_;  // rows of Z1q, then of Z1; the tanh of their GELU
  PerStep x2_;       // rows of X2q, X2, dB
  PerStep b_, g1_;   // B, G1
  PerStep u_dz_g2_;  // rows of U2, dZ2, G2
  PerStep a2_, mask2_;
  float *z2_, *x_t_, *ck_, *cm_, *scratch_;  // ck, cm: [C,K] and [C,M] of no lasting meaning
  float *grad_o_ = nullptr, *da_ = nullptr, *g2_t_ = nullptr, *dx2_ = nullptr, *dg2_ = nullptr, *dg1_ = nullptr,
        *u1_dz1_ = nullptr, *dd_ = nullptr, *x_ = nullptr, *dqk_ = nullptr, *dsigma_ = nullptr, *de_ = nullptr;
};

}  // namespace
}  // namespace ttt::kernels
