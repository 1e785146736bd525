// Q and K of TTT on the Mamba backbone: two causal convolutions of the same rows, each rotated and split into heads
// (causal_conv.h, rope.h). On a GPU in one pass, nothing rounded in between.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/kernel_table.h"
#include "ops/rope.h"

namespace ttt {

// weight [D,1,W], bias [D].
struct ConvWeights {
  at::Tensor weight_D1W, bias_D;
};
struct RotatedHeads {
  at::Tensor q_BHTK, k_BHTK;
};

// x [B,T,D] -> q, k [B,H,T,K] of type `to`. Token t takes row (offset + t) mod P of the table; window as in
// causal_conv(). Differentiable in x, weights and biases.
RotatedHeads conv_rope_split_heads(const at::Tensor& x_BTD, const ConvWeights& q_conv, const ConvWeights& k_conv,
                                   const at::Tensor& window_BWD, std::int64_t num_heads, const RopeTable& table,
                                   std::int64_t offset, at::ScalarType to);

const KernelTable& conv_rope_kernels();  // its rows

}  // namespace ttt
