// TTT-Linear, composed: one piece of s mini-batches and g heads. Equations: kernels/reference/ttt_reference.h; names:
// ttt_composed.h.
#include <ATen/ATen.h>

#include "ops/ttt_composed.h"

namespace ttt {
namespace {

class LinearPiece : public TttPiece {
 public:
  LinearPiece(const PieceSizes& sizes, const RowOps& rows, const at::Tensor& like) : TttPiece(sizes, rows, like) {
    const auto [s, g, C, K, M] = sizes;
    w_ = Steps(make({(s + 1) * g, K, K}), g);
    c_ = Steps(make({(s + 1) * g, K}), g);
    z_ = Steps(make({n_, 2 * C, K}), g);
    z_k_ = z_.rows(C, C);
    g_ = Steps(make({n_, C, K}), g);
  }

  std::vector<at::Tensor> first_state() override { return {w_[0], c_[0]}; }
  std::vector<at::Tensor> last_state() override { return {w_[sizes_.segment], c_[sizes_.segment]}; }
  std::vector<at::Tensor> state_gradient() override {
    make_backward_buffers();
    return {dw_, dc_};
  }

  void forward(bool want_output, bool want_last_state) override {
    begin_forward();
    const std::int64_t s = sizes_.segment;
    for (std::int64_t i = 0; i < s; ++i) {
      // [Zq; Z] = [Q; K] W, biases are added by the norms;  G
      at::bmm_out(z_.slices[i], qk_[i], w_[i]);
      rows_.inner_gradient(z_k_[i], c_[i], target_[i], gain, bias, g_[i], xh_[i], r_[i]);
      if (i + 1 == s && !want_last_state) break;
      // W' = W - (e (.) K)^T G;  c' = c - e^T G
      at::baddbmm_out(w_.slices[i + 1], w_[i], ek_t_[i], g_[i], 1, -1);
      rows_.add_column_sums(c_[i], g_[i], e_[i], c_[i + 1]);
    }
    // Zq = Q W + c - N G;  O = Q + LN(Zq)
    at::bmm_out(ng_, mask_, g_.all);
    rows_.output_norm(z_.all.narrow(1, 0, sizes_.mini_batch), c_.all.narrow(0, 0, n_), ng_, q, gain, bias,
                      want_output ? o : at::Tensor(), xhq_, rq_);
  }

  void backward() override {
    make_backward_buffers();
    const std::int64_t C = sizes_.mini_batch;
    const at::Tensor u = u_dz_.all.narrow(1, 0, C);
    // U = dZq;  dN = -M (.) (U G^T), dA, dE;  dQ = dO + dA K + U W^T (last term below);  dK = dA^T Q + ...;  Gam = -N^T
    // U - ...
    rows_.output_norm_backward(o, xhq_, rq_, gain, u, dgain, dbias);
    at::bmm_out(un_, u, g_.all.transpose(1, 2));
    dsigma.zero_();
    rows_.dual_mask_backward(un_, a_, sigma, scale_C, dsigma, dscale);
    o.baddbmm_(un_, k);
    at::bmm_out(dk, un_.transpose(1, 2), q);
    at::baddbmm_out(gam_.all, gam_.all, mask_.transpose(1, 2), u, 0, -1);
    for (std::int64_t i = sizes_.segment - 1; i >= 0; --i) {
      // Gam -= e (.) (K dW' + 1 dc');  R = G dW'^T
      gam_[i].baddbmm_(ek_[i], dw_, 1, -1);
      rows_.subtract_outer(e_[i], dc_, gam_[i]);
      at::bmm_out(r_dw_.slices[i], g_[i], dw_t_);
      dcs_[i].copy_(dc_);
      rows_.inner_gradient_backward(gam_[i], target_[i], g_[i], xh_[i], r_[i], gain, bias, dz_[i], dd_[i], dgain,
                                    dbias);
      // dW = dW' + Q^T U + K^T dZ;  dc = dc' + sum U + sum dZ
      dw_.baddbmm_(qk_t_[i], u_dz_[i]);
      rows_.add_column_sums(dc_, u_dz_[i], {}, dc_);
    }
    // dQ += U W^T;  dK += dZ W^T + dD - e (.) R;  dV = -dD
    at::bmm_out(x_, u_dz_.all, w_.all.narrow(0, 0, n_).transpose(1, 2));
    o.add_(x_.narrow(1, 0, C));
    dk.add_(x_.narrow(1, C, C)).add_(dd_.all);
    rows_.subtract_scaled_rows(e_.all, r_dw_.all, dk);
    at::neg_out(dv, dd_.all);
    rows_.rate_backward(k, r_dw_.all, g_.all, dcs_.all, sigma, scale_C, dsigma, dscale);
  }

 private:
  void make_backward_buffers() {
    if (dw_.defined()) return;
    const auto [s, g, C, K, M] = sizes_;
    qk_t_ = qk_.transposed();
    u_dz_ = Steps(make({n_, 2 * C, K}), g);
    dz_ = u_dz_.rows(C, C);
    gam_ = Steps(make({n_, C, K}), g);
    r_dw_ = Steps(make({n_, C, K}), g);
    dcs_ = Steps(make({n_, K}), g);
    x_ = make({n_, 2 * C, K});
    dw_ = make({g, K, K});
    dw_t_ = dw_.transpose(1, 2);
    dc_ = make({g, K});
  }

  Steps w_, c_;    // [(s+1)*g, K, K], [(s+1)*g, K]
  Steps z_, z_k_;  // [Q; K] W, and the rows of K
  Steps g_;        // G
  Steps qk_t_;
  Steps u_dz_, dz_;  // rows of U = dZq, then of dZ
  Steps gam_;        // dG
  Steps r_dw_;       // R = G dW'^T
  Steps dcs_;        // dc' of each mini-batch
  at::Tensor x_;     // [U; dZ] W^T
  at::Tensor dw_, dw_t_, dc_;
};

}  // namespace

std::unique_ptr<TttPiece> make_linear_piece(const PieceSizes& sizes, const RowOps& rows, const at::Tensor& like) {
  return std::make_unique<LinearPiece>(sizes, rows, like);
}

}  // namespace ttt
