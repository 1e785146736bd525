// What stands between the TTT op and the output projection: heads merged, LayerNorm over the full width, the gate.
//
//     y = gelu_tanh(gate) * (weight * (o - mean(o)) / sqrt(var(o) + eps) + bias)
//
// Shapes: B batch, H heads, T time, K head size, D = H*K width.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "ops/kernel_table.h"

namespace ttt {

constexpr double kPostNormEps = 1e-6;

// o [B,H,T,K], weight [D], bias [D], gate [B,T,D] (undefined: no gate, Transformer backbone) -> y [B,T,D] of type `to`,
// unless given the gate's or o's. weight and bias fp32 (fp64 for fp64). Differentiable in all.
at::Tensor layer_norm_gate(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                           const at::Tensor& gate_BTD, std::optional<at::ScalarType> to = std::nullopt);
at::Tensor layer_norm_gate_composed(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                                    const at::Tensor& gate_BTD, std::optional<at::ScalarType> to = std::nullopt);

const KernelTable& layer_norm_gate_kernels();  // its rows

}  // namespace ttt
