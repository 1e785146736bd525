// The gated delta rule in plain loops: the specification that every other kernel is tested against (arXiv 2412.06464,
// equation 10, token by token).
//
// For each batch element and head, with q_t = q / sqrt(sum q^2 + eps) / sqrt(K) and k_t = k / sqrt(sum k^2 + eps):
//
//   D_t = exp(g_t) S_{t-1};   d_t = beta_t (v_t - D_t^T k_t);   S_t = D_t + k_t d_t^T;   o_t = S_t^T q_t;   S_0 = 0
//
// Backward, from the last token to the first; dS holds the gradient of S_t, dk and dq those of the normalised rows:
//
//   dS += q do^T;   dq = S do;   dd = dS^T k;   dk = dS d - beta D dd;   dv = beta dd;   dbeta = dd . (v - D^T k)
//   dD = dS - beta k dd^T;   dg = sum D (.) dD;   dS' = exp(g) dD
#pragma once

#include "kernels/gated_delta_params.h"

namespace ttt::kernels {

// o [B,H,T,V] is overwritten. state [B,H,K,V], where it is not null, holds S_0 and then S_T. Instantiated for float and
// double. Single-threaded, allocates its scratch.
template <class T>
void gated_delta_forward_reference(const GatedDeltaSizes& sizes, const GatedDeltaPointers<const T>& in, T* state, T* o);

// Gradients of sum(grad_o (.) O) from S_0 = 0; every array of `grad` is overwritten (=, not +=). Keeps all states of a
// head at a time: T K V values.
template <class T>
void gated_delta_backward_reference(const GatedDeltaSizes& sizes, const GatedDeltaPointers<const T>& in,
                                    const T* grad_o, const GatedDeltaPointers<T>& grad);

}  // namespace ttt::kernels
