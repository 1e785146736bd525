// Causal depthwise convolution of width W = 4, with bias or without; the last tap multiplies the current token:
//
//     y_t,d = bias_d + sum_w weight_d,w x_{t-W+1+w},d
//
// Shapes: B batch, T time, D width, W taps.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ops/kernel_table.h"

namespace ttt {

constexpr std::int64_t kConvWidth = 4;

// x [B,T,D], weight [D,1,W], bias [D] (these two fp32; fp64 for fp64; undefined: no bias) -> y [B,T,D] of x's type.
// `window` [B,W-1,D] holds the inputs before x, oldest first; undefined: zeros. Differentiable in x, weight and bias
// (not in the window).
at::Tensor causal_conv(const at::Tensor& x_BTD, const at::Tensor& weight_D1W, const at::Tensor& bias_D,
                       const at::Tensor& window_BWD = {});
at::Tensor causal_conv_composed(const at::Tensor& x_BTD, const at::Tensor& weight_D1W, const at::Tensor& bias_D,
                                const at::Tensor& window_BWD = {});

// The window after x: the last W-1 rows of (window, x). A copy.
at::Tensor next_conv_window(const at::Tensor& x_BTD, const at::Tensor& window_BWD);

const KernelTable& causal_conv_kernels();  // its rows

}  // namespace ttt
