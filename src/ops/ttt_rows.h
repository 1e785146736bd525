// The row-wise steps of the composed TTT kernels on tensors: vectorised loops (kernels/cpu/ttt_rows.h, which has the
// equations) on the CPU, ATen calls elsewhere. The ATen versions run on any device, and so are tested on the CPU.
//
// Tensors stand for n = s*g matrices, s mini-batches (outermost) of g heads: [n, C, K] for rows of tokens, whose first
// stride may be larger than C*K; [n, C] for one value a row; [g, K] for what belongs to a head. Outputs are
// preallocated.
#pragma once

#include <ATen/core/Tensor.h>

namespace ttt {

class RowOps {
 public:
  // use_loops: CPU tensors only.
  RowOps(bool use_loops, std::int64_t heads) : use_loops_(use_loops), heads_(heads) {}

  // out = M (.) E (.) (A + 1)
  void dual_mask(const at::Tensor& a, const at::Tensor& sigma, const at::Tensor& scale_C, const at::Tensor& out) const;
  // x = U G^T becomes dA; dsigma [n,C] and dscale [g,C] are accumulated.
  void dual_mask_backward(const at::Tensor& x, const at::Tensor& a, const at::Tensor& sigma, const at::Tensor& scale_C,
                          const at::Tensor& dsigma, const at::Tensor& dscale) const;
  // G of Z = z + c; xh and r = 1/std of Z. c [g,K] (n = g).
  void inner_gradient(const at::Tensor& z, const at::Tensor& c, const at::Tensor& target, const at::Tensor& gain,
                      const at::Tensor& bias, const at::Tensor& g, const at::Tensor& xh, const at::Tensor& r) const;
  // dZ and dD of Gam = dG; dgain, dbias are accumulated.
  void inner_gradient_backward(const at::Tensor& gam, const at::Tensor& target, const at::Tensor& g,
                               const at::Tensor& xh, const at::Tensor& r, const at::Tensor& gain,
                               const at::Tensor& bias, const at::Tensor& dz, const at::Tensor& dd,
                               const at::Tensor& dgain, const at::Tensor& dbias) const;
  // o = q + LN(z + c - ng), unless o is undefined; xh and r of the norm. c [n,K].
  void output_norm(const at::Tensor& z, const at::Tensor& c, const at::Tensor& ng, const at::Tensor& q,
                   const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& o, const at::Tensor& xh,
                   const at::Tensor& r) const;
  // u = dZq; dgain, dbias are accumulated.
  void output_norm_backward(const at::Tensor& d_o, const at::Tensor& xh, const at::Tensor& r, const at::Tensor& gain,
                            const at::Tensor& u, const at::Tensor& dgain, const at::Tensor& dbias) const;
  // out = e (.) x
  void scale_rows(const at::Tensor& x, const at::Tensor& e, const at::Tensor& out) const;
  // x -= e (.) y
  void subtract_scaled_rows(const at::Tensor& e, const at::Tensor& y, const at::Tensor& x) const;
  // x -= e row, row [n,cols]
  void subtract_outer(const at::Tensor& e, const at::Tensor& row, const at::Tensor& x) const;
  // out = base + sum of rows of x, or with e: base - sum_j e_j x_j
  void add_column_sums(const at::Tensor& base, const at::Tensor& x, const at::Tensor& e, const at::Tensor& out) const;
  // de_j = -(x_j . y_j + g_j . dc); dsigma += s_last de, dscale's last += sum sigma_j de_j
  void rate_backward(const at::Tensor& x, const at::Tensor& y, const at::Tensor& g, const at::Tensor& dc,
                     const at::Tensor& sigma, const at::Tensor& scale_C, const at::Tensor& dsigma,
                     const at::Tensor& dscale) const;
  // z += c - minus (minus may be undefined); t = tanh of the GELU's argument, which the next three take. c [n,cols].
  void gelu_tanh(const at::Tensor& z, const at::Tensor& c, const at::Tensor& minus, const at::Tensor& t) const;
  // out = phi(z)
  void gelu_value(const at::Tensor& z, const at::Tensor& t, const at::Tensor& out) const;
  // out = x (.) phi'(z)
  void gelu_first(const at::Tensor& x, const at::Tensor& z, const at::Tensor& t, const at::Tensor& out) const;
  // out = x (.) phi'(z) + y (.) b (.) phi''(z)
  void gelu_second(const at::Tensor& x, const at::Tensor& y, const at::Tensor& b, const at::Tensor& z,
                   const at::Tensor& t, const at::Tensor& out) const;

 private:
  // [n, ...] -> [s, g, ...], for what is added up or broadcast by head.
  at::Tensor by_head(const at::Tensor& x) const { return x.unflatten(0, {-1, heads_}); }

  bool use_loops_;
  std::int64_t heads_;
};

}  // namespace ttt
