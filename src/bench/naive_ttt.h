// The TTT ops as they are usually written, and as the official PyTorch code has them: one mini-batch after the other,
// a handful of batched ATen calls over [P, c, K] each, the matrices eta written out, autograd for the backward pass.
// What the kernels of `ttt_kernels(kind)` are timed against; equations: kernels/reference/ttt_reference.h.
//
// Shapes: B batch, H heads, P = B*H, T time, K head size, C mini-batch, c its tokens (C, or fewer at the end).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ops/ttt.h"

namespace ttt {

// O [B,H,T,K], differentiable by autograd in every tensor of `inputs` and `initial`.
at::Tensor naive_ttt(TttKind kind, const TttInputs& inputs, const TttWeights& initial, std::int64_t mini_batch_size);

}  // namespace ttt
