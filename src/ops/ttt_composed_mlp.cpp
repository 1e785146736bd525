// TTT-MLP, composed: one piece of s mini-batches and g heads. Equations: kernels/reference/ttt_reference.h; names:
// ttt_composed.h.
#include <ATen/ATen.h>

#include "ops/ttt_composed.h"

namespace ttt {
namespace {

class MlpPiece : public TttPiece {
 public:
  MlpPiece(const PieceSizes& sizes, const RowOps& rows, const at::Tensor& like) : TttPiece(sizes, rows, like) {
    const auto [s, g, C, K, M] = sizes;
    w1_ = Steps(make({(s + 1) * g, K, M}), g);
    c1_ = Steps(make({(s + 1) * g, M}), g);
    w2_ = Steps(make({(s + 1) * g, M, K}), g);
    c2_ = Steps(make({(s + 1) * g, K}), g);
    w2_t_ = w2_.transposed();
    z1_ = Steps(make({n_, 2 * C, M}), g);
    z1_k_ = z1_.rows(C, C);
    t1_ = Steps(make({n_, C, M}), g);
    xx_ = Steps(make({n_, 3 * C, M}), g);
    x2_ = xx_.rows(C, C);
    ex2_ = Steps(make({n_, C, M}), g);
    ex2_t_ = ex2_.transposed();
    z2_ = make({g, C, K});
    uu_ = Steps(make({n_, 3 * C, K}), g);
    g2_ = uu_.rows(2 * C, C);
    b_ = Steps(make({n_, C, M}), g);
    g1_ = Steps(make({n_, C, M}), g);
    ng1_ = make({n_, C, M});
    t1q_ = make({n_, C, M});
    a2_ = make({n_, C, C});
    mask2_ = make({n_, C, C});
    z2q_ = make({n_, C, K});
  }

  std::vector<at::Tensor> first_state() override { return {w1_[0], c1_[0], w2_[0], c2_[0]}; }
  std::vector<at::Tensor> last_state() override {
    const std::int64_t s = sizes_.segment;
    return {w1_[s], c1_[s], w2_[s], c2_[s]};
  }
  std::vector<at::Tensor> state_gradient() override {
    make_backward_buffers();
    return {dw1_, dc1_, dw2_, dc2_};
  }

  void forward(bool want_output, bool want_last_state) override {
    begin_forward();
    const std::int64_t s = sizes_.segment, C = sizes_.mini_batch;
    for (std::int64_t i = 0; i < s; ++i) {
      // [Q; K] W1;  Z1 = K W1 + c1;  X2 = phi(Z1);  Z2 = X2 W2 + c2;  G2
      at::bmm_out(z1_.slices[i], qk_[i], w1_[i]);
      rows_.gelu_tanh(z1_k_[i], c1_[i], {}, t1_[i]);
      rows_.gelu_value(z1_k_[i], t1_[i], x2_[i]);
      at::bmm_out(z2_, x2_[i], w2_[i]);
      rows_.inner_gradient(z2_, c2_[i], target_[i], gain, bias, g2_[i], xh_[i], r_[i]);
      // B = G2 W2^T;  G1 = B (.) phi'(Z1)
      at::bmm_out(b_.slices[i], g2_[i], w2_t_[i]);
      rows_.gelu_first(b_[i], z1_k_[i], t1_[i], g1_[i]);
      rows_.scale_rows(x2_[i], e_[i], ex2_[i]);
      if (i + 1 == s && !want_last_state) break;
      // W1' = W1 - (e K)^T G1;  W2' = W2 - (e X2)^T G2;  c1' = c1 - e^T G1;  c2' = c2 - e^T G2
      at::baddbmm_out(w1_.slices[i + 1], w1_[i], ek_t_[i], g1_[i], 1, -1);
      at::baddbmm_out(w2_.slices[i + 1], w2_[i], ex2_t_[i], g2_[i], 1, -1);
      rows_.add_column_sums(c1_[i], g1_[i], e_[i], c1_[i + 1]);
      rows_.add_column_sums(c2_[i], g2_[i], e_[i], c2_[i + 1]);
    }
    // Z1q = Q W1 + c1 - N1 G1;  X2q = phi(Z1q)
    at::bmm_out(ng1_, mask_, g1_.all);
    rows_.gelu_tanh(z1q(), c1_.all.narrow(0, 0, n_), ng1_, t1q_);
    rows_.gelu_value(z1q(), t1q_, x2q());
    // N2 = M (.) E (.) (X2q X2^T + 1);  Z2q = X2q W2 + c2 - N2 G2;  O = Q + LN(Z2q)
    at::bmm_out(a2_, x2q(), x2_.all.transpose(1, 2));
    rows_.dual_mask(a2_, sigma, scale_C, mask2_);
    at::bmm_out(z2q_, x2q(), w2_.all.narrow(0, 0, n_));
    at::bmm_out(ng_, mask2_, uu_.all.narrow(1, 2 * C, C));
    rows_.output_norm(z2q_, c2_.all.narrow(0, 0, n_), ng_, q, gain, bias, want_output ? o : at::Tensor(), xhq_, rq_);
  }

  void backward() override {
    make_backward_buffers();
    const std::int64_t C = sizes_.mini_batch;
    const at::Tensor u2 = uu_.all.narrow(1, 0, C), u1 = u1_dz1_.all.narrow(1, 0, C);
    dsigma.zero_();
    // U2 = dZ2q;  dN2 = -M (.) (U2 G2^T), dA2, dE;  dX2q = U2 W2^T + dA2 X2;  dX2 = dA2^T X2q + ...;  dG2 = -N2^T U2 +
    // ...
    rows_.output_norm_backward(o, xhq_, rq_, gain, u2, dgain, dbias);
    at::bmm_out(un_, u2, g2_.all.transpose(1, 2));
    rows_.dual_mask_backward(un_, a2_, sigma, scale_C, dsigma, dscale);
    at::bmm_out(dx2q_, u2, w2_.all.narrow(0, 0, n_).transpose(1, 2));
    dx2q_.baddbmm_(un_, x2_.all);
    at::bmm_out(dx2_.all, un_.transpose(1, 2), x2q());
    at::baddbmm_out(dg2_.all, dg2_.all, mask2_.transpose(1, 2), u2, 0, -1);
    // U1 = dX2q (.) phi'(Z1q);  dN1 = -M (.) (U1 G1^T), dA1, dE;  dQ = dO + dA1 K + ...;  dK = dA1^T Q + ...;  dG1 =
    // -N1^T U1 + ...
    rows_.gelu_first(dx2q_, z1q(), t1q_, u1);
    at::bmm_out(un_, u1, g1_.all.transpose(1, 2));
    rows_.dual_mask_backward(un_, a_, sigma, scale_C, dsigma, dscale);
    o.baddbmm_(un_, k);
    at::bmm_out(dk, un_.transpose(1, 2), q);
    at::baddbmm_out(dg1_.all, dg1_.all, mask_.transpose(1, 2), u1, 0, -1);
    for (std::int64_t i = sizes_.segment - 1; i >= 0; --i) {
      // dG2 -= e (.) (X2 dW2' + 1 dc2');  dG1 -= e (.) (K dW1' + 1 dc1')
      dg2_[i].baddbmm_(ex2_[i], dw2_, 1, -1);
      rows_.subtract_outer(e_[i], dc2_, dg2_[i]);
      dg1_[i].baddbmm_(ek_[i], dw1_, 1, -1);
      rows_.subtract_outer(e_[i], dc1_, dg1_[i]);
      // R2 = G2 dW2'^T;  R1 = G1 dW1'^T;  dX2 -= e (.) R2
      at::bmm_out(r2_.slices[i], g2_[i], dw2_t_);
      at::bmm_out(r1_.slices[i], g1_[i], dw1_t_);
      rows_.subtract_scaled_rows(e_[i], r2_[i], dx2_[i]);
      dc1s_[i].copy_(dc1_);
      dc2s_[i].copy_(dc2_);
      // dB = dG1 (.) phi'(Z1);  dG2 += dB W2;  dZ2, dD;  dX2 += dZ2 W2^T;  dZ1 = dX2 (.) phi'(Z1) + dG1 (.) B (.)
      // phi''(Z1)
      rows_.gelu_first(dg1_[i], z1_k_[i], t1_[i], db_[i]);
      dg2_[i].baddbmm_(db_[i], w2_[i]);
      rows_.inner_gradient_backward(dg2_[i], target_[i], g2_[i], xh_[i], r_[i], gain, bias, dz2_[i], dd_[i], dgain,
                                    dbias);
      dx2_[i].baddbmm_(dz2_[i], w2_t_[i]);
      rows_.gelu_second(dx2_[i], dg1_[i], b_[i], z1_k_[i], t1_[i], dz1_[i]);
      // dW2 = dW2' + X2q^T U2 + X2^T dZ2 + dB^T G2;  dW1 = dW1' + Q^T U1 + K^T dZ1;  dc alike
      dw2_.baddbmm_(xx_t_[i], uu_[i]);
      dw1_.baddbmm_(qk_t_[i], u1_dz1_[i]);
      rows_.add_column_sums(dc2_, u2_dz2_[i], {}, dc2_);
      rows_.add_column_sums(dc1_, u1_dz1_[i], {}, dc1_);
    }
    // dQ += U1 W1^T;  dK += dZ1 W1^T + dD - e (.) R1;  dV = -dD
    at::bmm_out(x_, u1_dz1_.all, w1_.all.narrow(0, 0, n_).transpose(1, 2));
    o.add_(x_.narrow(1, 0, C));
    dk.add_(x_.narrow(1, C, C)).add_(dd_.all);
    rows_.subtract_scaled_rows(e_.all, r1_.all, dk);
    at::neg_out(dv, dd_.all);
    rows_.rate_backward(k, r1_.all, g1_.all, dc1s_.all, sigma, scale_C, dsigma, dscale);
    rows_.rate_backward(x2_.all, r2_.all, g2_.all, dc2s_.all, sigma, scale_C, dsigma, dscale);
  }

 private:
  at::Tensor z1q() const { return z1_.all.narrow(1, 0, sizes_.mini_batch); }
  at::Tensor x2q() const { return xx_.all.narrow(1, 0, sizes_.mini_batch); }

  void make_backward_buffers() {
    if (dw1_.defined()) return;
    const auto [s, g, C, K, M] = sizes_;
    qk_t_ = qk_.transposed();
    xx_t_ = xx_.transposed();
    db_ = xx_.rows(2 * C, C);
    dz2_ = uu_.rows(C, C);
    u2_dz2_ = uu_.rows(0, 2 * C);
    u1_dz1_ = Steps(make({n_, 2 * C, M}), g);
    dz1_ = u1_dz1_.rows(C, C);
    dg1_ = Steps(make({n_, C, M}), g);
    dg2_ = Steps(make({n_, C, K}), g);
    dx2q_ = make({n_, C, M});
    dx2_ = Steps(make({n_, C, M}), g);
    r1_ = Steps(make({n_, C, K}), g);
    r2_ = Steps(make({n_, C, M}), g);
    dc1s_ = Steps(make({n_, M}), g);
    dc2s_ = Steps(make({n_, K}), g);
    x_ = make({n_, 2 * C, K});
    dw1_ = make({g, K, M});
    dw2_ = make({g, M, K});
    dw1_t_ = dw1_.transpose(1, 2);
    dw2_t_ = dw2_.transpose(1, 2);
    dc1_ = make({g, M});
    dc2_ = make({g, K});
  }

  Steps w1_, c1_, w2_, c2_;  // [(s+1)*g, ...]
  Steps w2_t_;
  Steps z1_, z1_k_, t1_;  // rows of Z1q, then of Z1 [n,2C,M]; those of Z1; tanh of Z1's GELU
  Steps xx_, x2_;         // rows of X2q, X2, dB [n,3C,M]; those of X2
  Steps ex2_, ex2_t_;     // e (.) X2
  at::Tensor z2_;         // of one mini-batch
  Steps uu_, g2_;         // rows of U2, dZ2, G2 [n,3C,K]; those of G2
  Steps b_, g1_;
  at::Tensor ng1_, t1q_;   // N1 G1; tanh of Z1q's GELU
  at::Tensor a2_, mask2_;  // X2q X2^T and its mask
  at::Tensor z2q_;
  Steps qk_t_, xx_t_, db_, dz2_, u2_dz2_;
  Steps u1_dz1_, dz1_;  // rows of U1, then of dZ1
  Steps dg1_, dg2_, dx2_, r1_, r2_, dc1s_, dc2s_;
  at::Tensor dx2q_, x_;  // x: [U1; dZ1] W1^T
  at::Tensor dw1_, dw2_, dw1_t_, dw2_t_, dc1_, dc2_;
};

}  // namespace

std::unique_ptr<TttPiece> make_mlp_piece(const PieceSizes& sizes, const RowOps& rows, const at::Tensor& like) {
  return std::make_unique<MlpPiece>(sizes, rows, like);
}

}  // namespace ttt
