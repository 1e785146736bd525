// The dense layer: y = x weight^T + bias.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/kernel_table.h"

namespace ttt {

// x [..., in], weight [out, in], bias [out] or undefined -> y [..., out] of x's type; weight and bias of another type
// are rounded to x's in each call. Differentiable in all. One row without gradients, a token in decoding, goes through
// loops of our own: LibTorch's products for it run on one thread, at a third of the memory's bandwidth. In bf16 on a
// CPU the products are those that ops/products.h was set to.
at::Tensor linear_layer(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

const KernelTable& linear_kernels();  // its rows

}  // namespace ttt
