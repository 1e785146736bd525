// The TTT layers in plain loops: the specification that every other kernel is tested against (arXiv 2407.04620, dual
// form).
//
// For each batch element and head, over mini-batches of b rows (f = head size, h = hidden width, (.) elementwise
// product, M lower-triangular ones with the diagonal, phi the tanh form of GELU):
//
//   E_ij = s_i sigma_j,  e_j = s_{b-1} sigma_j         s on the query row, sigma on the key column
//   TTT-Linear   Z = K W + c;   G = d/dZ 1/2 ||LN(Z) - (V - K)||^2
//                N = M (.) E (.) (Q K^T + 1);   Zq = Q W + c - N G;   O = Q + LN(Zq)
//                W' = W - (e (.) K)^T G;   c' = c - e^T G
//   TTT-MLP      Z1 = K W1 + c1;  X2 = phi(Z1);  Z2 = X2 W2 + c2;  G2 as G, on Z2;  B = G2 W2^T;  G1 = B (.) phi'(Z1)
//                N1 = M (.) E (.) (Q K^T + 1);  Z1q = Q W1 + c1 - N1 G1;  X2q = phi(Z1q)
//                N2 = M (.) E (.) (X2q X2^T + 1);  Z2q = X2q W2 + c2 - N2 G2;  O = Q + LN(Z2q)
//                W1' = W1 - (e K)^T G1;  c1' = c1 - e^T G1;  W2' = W2 - (e X2)^T G2;  c2' = c2 - e^T G2
//
// A last mini-batch of fewer than b rows uses the same formulas (b stays the full size) and updates no weights.
#pragma once

#include "kernels/ttt_params.h"

namespace ttt::kernels {

// o [B,H,T,K] is overwritten. Instantiated for float and double. Single-threaded, allocates its scratch.
template <class T>
void ttt_linear_forward_reference(const TttSizes& sizes, const TttPointers<const T>& in, T* o);
template <class T>
void ttt_mlp_forward_reference(const TttSizes& sizes, const TttPointers<const T>& in, T* o);

// Gradients of sum(grad_o (.) O); every array of `grad` is overwritten (=, not +=). Rows of scale that no mini-batch
// reaches get 0.
template <class T>
void ttt_linear_backward_reference(const TttSizes& sizes, const TttPointers<const T>& in, const T* grad_o,
                                   const TttPointers<T>& grad);
template <class T>
void ttt_mlp_backward_reference(const TttSizes& sizes, const TttPointers<const T>& in, const T* grad_o,
                                const TttPointers<T>& grad);

}  // namespace ttt::kernels
