// The rows of the TTT kernel table that live in ops/ (the tables themselves: ttt_kernels() in ttt.h).
#pragma once

#include "ops/ttt.h"

namespace ttt {

// kernels/cpu/ttt_fused.h behind tensors, a row for each instruction set, best first: CPU, fp32 (those with bf16
// products for calls that allow these), head sizes that are multiples of 16 (ttt_fused.cpp).
std::vector<TttKernel> fused_ttt_kernels();

// kernels/cuda behind tensors: GPUs, bf16 and fp32, head sizes 64 and 96, mini-batches of 16 (ttt_cuda.cpp).
TttKernel cuda_ttt_linear_kernel();
TttKernel cuda_ttt_mlp_kernel();

// The dual form as batched ATen calls, any inner net, any device, fp32 and fp64 (ttt_composed.cpp).
TttKernel composed_ttt_kernel();

// The same for several gradient steps a mini-batch (ttt_composed_steps.cpp); autograd can differentiate the first.
at::Tensor sequence_forward(const TttNet& net, const TttInputs& inputs, const TttWeights& initial);
TttGradients sequence_backward(const TttNet& net, const at::Tensor& grad_o_BHTK, const TttInputs& inputs,
                               const TttWeights& initial);

// kernels/reference behind tensors: plain loops, any inner net, CPU, fp32 and fp64 (ttt_reference.cpp).
TttKernel reference_ttt_kernel();

// Throws Error with one sentence when shapes, dtypes or devices do not fit together (UserError for a dtype other than
// fp32 and fp64). weights_batch: 0 for learned weights ([H,K,K], ...), else the leading batch of the weights of a
// decoding state.
void check_ttt_arguments(const TttNet& net, const TttInputs& inputs, const TttWeights& weights,
                         std::int64_t mini_batch_size, std::int64_t weights_batch);

TttShape shape_of(const TttNet& net, const TttInputs& inputs, std::int64_t mini_batch_size);

}  // namespace ttt
