// SwiGLU's elementwise part: y = silu(gate) * up, silu(g) = g / (1 + exp(-g)).
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/kernel_table.h"

namespace ttt {

// gate, up [..., F] -> y [..., F] of gate's type. Differentiable in both.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);
at::Tensor swiglu_composed(const at::Tensor& gate, const at::Tensor& up);

const KernelTable& swiglu_kernels();  // its rows

}  // namespace ttt
