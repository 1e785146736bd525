// One mini-batch's inner step in ATen calls, for decoding and statistics. Equations: kernels/reference/ttt_reference.h.
//
// Shapes: B batch, H heads, K head size, M hidden width of TTT-MLP, R rows (tokens) of the mini-batch at hand.
#pragma once

#include "ops/ttt.h"

namespace ttt {

// What rows of a mini-batch contribute to the update of the fast weights: W1' = W1 - (e K)^T G1, W2' = W2 - (e X2)^T
// G2.
struct TttInnerGradient {
  at::Tensor g1;  // TTT-Linear: G [B,H,R,K]; TTT-MLP: G1 [B,H,R,M]
  at::Tensor x2;  // TTT-MLP: X2 [B,H,R,M]
  at::Tensor g2;  // TTT-MLP: G2 [B,H,R,K]
};

// xh g + beta, rows normalised to mean 0 and variance 1 (eps 1e-6). gain, bias [H,K].
at::Tensor inner_layer_norm(const at::Tensor& z_BHRK, const at::Tensor& gain_HK, const at::Tensor& bias_HK);

// The network itself: LN(K W1 + c1), or LN(phi(K W1 + c1) W2 + c2).
at::Tensor inner_model(TttKind kind, const at::Tensor& k_BHRK, const TttWeights& weights, const at::Tensor& gain_HK,
                       const at::Tensor& bias_HK);

// Gradients of 1/2 ||LN(f(K; W)) - (V - K)||^2 at the weights [B,H,...].
TttInnerGradient inner_gradient(TttKind kind, const at::Tensor& k_BHRK, const at::Tensor& v_BHRK,
                                const TttWeights& weights, const at::Tensor& gain_HK, const at::Tensor& bias_HK);

// The weights after a step with rates e [B,H,R]: new tensors.
TttWeights inner_update(TttKind kind, const TttWeights& weights, const at::Tensor& k_BHRK,
                        const TttInnerGradient& gradient, const at::Tensor& e_BHR);

}  // namespace ttt
