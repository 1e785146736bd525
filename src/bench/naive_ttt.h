// The TTT ops as they are usually written, and as the official PyTorch code has them: one mini-batch after the other,
// a handful of batched ATen calls each (ops/ttt_inner.h, as in the composed row), the rates written out as a matrix,
// autograd for the backward pass. What the kernels of `ttt_kernels(net)` are timed against.
//
// Shapes: B batch, H heads, T time, K head size.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ops/ttt.h"

namespace ttt {

// O [B,H,T,K], differentiable by autograd in every tensor of `inputs` and `initial`.
at::Tensor naive_ttt(const TttNet& net, const TttInputs& inputs, const TttWeights& initial,
                     std::int64_t mini_batch_size);

}  // namespace ttt
