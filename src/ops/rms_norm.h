// RMSNorm: y = x / sqrt(mean(x^2) + eps) * weight, over the last dimension.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "ops/kernel_table.h"

namespace ttt {

constexpr double kRmsNormEps = 1e-6;

// x [..., D], weight [D] fp32 (fp64 for fp64) -> y [..., D] of type `to`, x's unless given. Differentiable in both;
// reduced in fp32 (fp64 for fp64).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double eps = kRmsNormEps,
                    std::optional<at::ScalarType> to = std::nullopt);

// x + delta, and its norm: of a residual stream x [..., D] and what a layer adds to it, in one pass on a GPU.
struct NormedSum {
  at::Tensor sum;  // of x's type
  at::Tensor y;    // of type `to`
};
NormedSum add_rms_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight_D,
                       double eps = kRmsNormEps, std::optional<at::ScalarType> to = std::nullopt);

// The same as ATen calls, on any device: what the fused loops of the CPU are tested against.
at::Tensor rms_norm_composed(const at::Tensor& x, const at::Tensor& weight_D, double eps = kRmsNormEps,
                             std::optional<at::ScalarType> to = std::nullopt);

const KernelTable& rms_norm_kernels();  // its rows

}  // namespace ttt
