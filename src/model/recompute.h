// Activation checkpointing: keep a function's input for the backward pass, not what it computed.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace ttt {

using TensorFunction = std::function<at::Tensor(const at::Tensor&)>;

// Equals first(x), and so do the gradients of x and of every parameter that `again` uses (bit for bit when the two
// compute the same). The backward pass calls again(x) with gradients on and runs its backward at once. x requires a
// gradient.
at::Tensor recomputed(const TensorFunction& first, const TensorFunction& again, const at::Tensor& x);

}  // namespace ttt
