// The inner loop's forward maths in ATen calls, for any inner net: what the composed row, decoding, the statistics and
// the benchmark's naive op compute with. Equations and names: kernels/reference/ttt_reference.h.
//
// Tensors may have any leading dimensions (*) that broadcast: [B,H] in decoding, [P] or [P,S] in the composed row.
// Nothing is changed in place, and autograd can differentiate all of it.
//
// Shapes: K head size, R rows (tokens) of the mini-batch at hand, C its full size.
#pragma once

#include "ops/ttt.h"

namespace ttt {

// The inner LayerNorm of each head: gain, bias [*,1,K].
struct InnerNorm {
  at::Tensor gain, bias;
};

// Rows to mean 0 and variance 1, r = 1/std [*,R,1] (eps 1e-6).
struct InnerNormalised {
  at::Tensor xh, r;
};
InnerNormalised inner_normalise(const at::Tensor& z);

// y = LN(Z_L), or Z_L itself: what the loss and the output see.
at::Tensor inner_value(const TttNet& net, const at::Tensor& z, const InnerNorm& norm);

// The net itself: y of k [*,R,K].
at::Tensor inner_model(const TttNet& net, const at::Tensor& k, const TttWeights& weights, const InnerNorm& norm);

// V - K with the residual, else V.
at::Tensor inner_target(const TttNet& net, const at::Tensor& k, const at::Tensor& v);

// What a mini-batch's keys leave for whoever reads the weights after them, X_l and G_l: those of the first gradient
// step by layer, then those of the second.
struct InnerRows {
  std::vector<at::Tensor> x, g;  // [*,R,in], [*,R,out]
};

// The keys' pass of one gradient step through the net, and the gradients of 1/2 ||y - target||^2 at every layer's Z.
struct InnerKeys {
  std::vector<at::Tensor> x, z, g;  // by layer: X_l [*,R,in], Z_l, G_l [*,R,out]
  std::vector<at::Tensor> b;        // B_l of the layers but the last
  InnerNormalised norm;             // of Z_L, where there is a LayerNorm
};
// Of the first step, at the weights themselves; of a later one, at those that each row has after the steps `before`,
// with rates [*,R,Rk] as inner_rates() gives them for the Rk rows that `before` has.
InnerKeys inner_gradient(const TttNet& net, const at::Tensor& k, const at::Tensor& target, const TttWeights& weights,
                         const InnerNorm& norm);
InnerKeys inner_gradient(const TttNet& net, const at::Tensor& k, const at::Tensor& target, const TttWeights& weights,
                         const InnerNorm& norm, const at::Tensor& rates, const InnerRows& before);

// All steps of a mini-batch of which nothing was read before.
InnerRows inner_steps(const TttNet& net, const at::Tensor& k, const at::Tensor& target, const TttWeights& weights,
                      const InnerNorm& norm, const at::Tensor& rates);

// The weights after the steps of these rows with rates e [*,R]: new tensors.
TttWeights inner_update(const TttNet& net, const TttWeights& weights, const std::vector<at::Tensor>& x,
                        const std::vector<at::Tensor>& g, const at::Tensor& e);

// M (.) E [*,Rq,R]: s_i sigma_j for keys j up to the query's own place, which is first + i. scale_R [Rq], sigma [*,R].
at::Tensor inner_rates(const at::Tensor& scale_R, const at::Tensor& sigma, std::int64_t first = 0);

// The queries' pass: each row sees the weights after the steps of the keys up to its own, in the dual form.
struct InnerQueries {
  std::vector<at::Tensor> x, z;  // by layer: Xq_l, Zq_l
  std::vector<at::Tensor> a, n;  // by layer, within it by step: Xq_l X_l^T, N_l [*,Rq,R]
  at::Tensor o;                  // [*,Rq,K]
};
InnerQueries inner_output(const TttNet& net, const at::Tensor& q, const at::Tensor& rates,
                          const std::vector<at::Tensor>& x, const std::vector<at::Tensor>& g, const TttWeights& weights,
                          const InnerNorm& norm);

// O [P,T,K] of whole sequences that start at `weights`, mini-batch by mini-batch. q, k, target [P,T,K], sigma [P,T].
// Autograd can differentiate it in every tensor.
at::Tensor inner_sequence(const TttNet& net, const at::Tensor& q, const at::Tensor& k, const at::Tensor& target,
                          const at::Tensor& sigma, const at::Tensor& scale_C, TttWeights weights,
                          const InnerNorm& norm);

// --- how lists go by layer ---

inline const at::Tensor& weight_of(const TttWeights& weights, std::size_t layer) {
  return weights[2 * layer];
}
inline const at::Tensor& bias_of(const TttWeights& weights, std::size_t layer) {
  return weights[2 * layer + 1];
}

}  // namespace ttt
