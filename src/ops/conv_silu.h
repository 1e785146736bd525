// The short convolution and silu of it in one: what stands before the gated delta rule.
//
// Shapes: B batch, T time, D width, W = 4 taps.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/kernel_table.h"

namespace ttt {

// silu(causal_conv(x, weight, no bias, window)), see causal_conv.h: x [B,T,D], weight [D,1,W] -> [B,T,D] fp32 (fp64 for
// fp64). Differentiable in x and weight. On the CPU nothing between is kept for the backward pass, which computes the
// convolution again.
at::Tensor conv_silu(const at::Tensor& x_BTD, const at::Tensor& weight_D1W, const at::Tensor& window_BWD = {});
at::Tensor conv_silu_composed(const at::Tensor& x_BTD, const at::Tensor& weight_D1W, const at::Tensor& window_BWD = {});

const KernelTable& conv_silu_kernels();

}  // namespace ttt
