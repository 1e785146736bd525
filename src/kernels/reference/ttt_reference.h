// The TTT layers in plain loops: the specification that every other kernel is tested against (arXiv 2407.04620, dual
// form). For an inner net of any number of layers: one is TTT-Linear, two are TTT-MLP.
//
// For each batch element and head, over mini-batches of b rows (f = head size, (.) elementwise product, M
// lower-triangular ones with the diagonal, phi the tanh form of GELU), layers l = 1..L with X_1 = K and Xq_1 = Q:
//
//   E_ij = s_i sigma_j,  e_j = s_{b-1} sigma_j         s on the query row, sigma on the key column
//   keys         Z_l = X_l W_l + c_l;   X_{l+1} = phi(Z_l)
//                G_L = d/dZ_L 1/2 ||LN(Z_L) - (V - K)||^2;   B_l = G_{l+1} W_{l+1}^T;   G_l = B_l (.) phi'(Z_l)
//   queries      N_l = M (.) E (.) (Xq_l X_l^T + 1);   Zq_l = Xq_l W_l + c_l - N_l G_l;   Xq_{l+1} = phi(Zq_l)
//                O = Q + LN(Zq_L)
//   update       W_l' = W_l - (e (.) X_l)^T G_l;   c_l' = c_l - e^T G_l
//
// A last mini-batch of fewer than b rows uses the same formulas (b stays the full size) and updates no weights. Other
// learners than the paper's: TttLearner in ttt_params.h, TttUpdate in ttt_update.h. Without biases N has A in place of
// A + 1, and c' = c. In several steps m = 1..n of a mini-batch, keys are read as queries are, from the steps before:
//
//   keys         Z_l^m = X_l^m W_l + c_l - sum_{p<m} N_l^{mp} G_l^p,   N_l^{mp} = M (.) E (.) (X_l^m X_l^p^T + 1)
//                B_l^m = G_{l+1}^m W_{l+1}^T - sum_{p<m} M (.) E (.) (G_{l+1}^m G_{l+1}^p^T) X_{l+1}^p
//   queries      Zq_l = Xq_l W_l + c_l - sum_p N_l^p G_l^p
//   update       W_l' = W_l - sum_p (e (.) X_l^p)^T G_l^p;   c_l' alike
#pragma once

#include "kernels/ttt_params.h"
#include "kernels/ttt_update.h"

namespace ttt::kernels {

// o [B,H,T,K] is overwritten. Instantiated for float and double. Single-threaded, allocates its scratch.
template <class T>
void ttt_forward_reference(const TttSizes& sizes, const TttLearner& learner, const TttPointers<const T>& in, T* o,
                           const TttUpdate& update = {});

// Gradients of sum(grad_o (.) O); every array of `grad` is overwritten (=, not +=). Rows of scale that no mini-batch
// reaches get 0.
template <class T>
void ttt_backward_reference(const TttSizes& sizes, const TttLearner& learner, const TttPointers<const T>& in,
                            const T* grad_o, const TttPointers<T>& grad, const TttUpdate& update = {});

}  // namespace ttt::kernels
