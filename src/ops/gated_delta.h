// The gated delta rule of Gated DeltaNet as an op (arXiv 2412.06464, equation 10): a matrix of fast weights that every
// token decays, and then moves towards its value at its key by one step of the delta rule,
//
//     S_t = exp(g_t) S_{t-1} + beta_t k_t (v_t - exp(g_t) S_{t-1}^T k_t)^T;     o_t = S_t^T q_t
//
// with q_t = q / sqrt(sum q^2 + 1e-6) / sqrt(K) and k_t = k / sqrt(sum k^2 + 1e-6): the op normalises the rows itself.
//
// Shapes: B batch, H heads, T time, K the keys' head size, V the values', C = 64 tokens of a chunk.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ops/kernel_table.h"

namespace ttt {

// All on one device, with any strides. q, k and v of one type, fp32, fp64 or bf16; g and beta fp32 (fp64 for fp64).
struct GatedDeltaInputs {
  at::Tensor q_BHTK, k_BHTK;  // after convolution and silu, not normalised
  at::Tensor v_BHTV;
  at::Tensor g_BHT;  // log of the decay, <= 0
  at::Tensor beta_BHT;
};

// The op in training: o [B,H,T,V] fp32 (fp64 for fp64) from S_0 = 0, any T >= 1. Differentiable in all inputs by the
// hand-written backward pass of the chosen row; no second derivatives. bf16 rows are widened: sums and states are fp32.
at::Tensor gated_delta_forward(const GatedDeltaInputs& inputs);

// The op in decoding: the same outputs for T further tokens from the state S [B,H,K,V] (contiguous, fp32; fp64 for
// fp64), which advances in place. No gradients. Splitting a sequence anywhere gives the same outputs.
at::Tensor gated_delta_advance(const GatedDeltaInputs& inputs, at::Tensor& state_BHKV);

// --- the kernel table ---

// What the forward pass leaves for the backward pass; its meaning belongs to the row.
using GatedDeltaSaved = std::vector<at::Tensor>;

// What a row computes the op with. Rows stand in the table best first: fused ones, `composed` (the chunked form in
// batched ATen calls, any device) and `reference` (plain loops, CPU, the specification). Tensors are of one type, fp32
// or fp64.
struct GatedDeltaFunctions {
  // Returns o. state [B,H,K,V]: null or S_0, which becomes S_T. Fills `saved` when it is not null (then no state).
  at::Tensor (*forward)(const GatedDeltaInputs&, const at::Tensor* state_BHKV, GatedDeltaSaved* saved);
  // Gradients in the shapes of the inputs.
  GatedDeltaInputs (*backward)(const at::Tensor& grad_o_BHTV, const GatedDeltaInputs&, const GatedDeltaSaved& saved);
};

using GatedDeltaKernels = OpKernels<GatedDeltaFunctions>;
using GatedDeltaKernel = GatedDeltaKernels::Row;
const GatedDeltaKernels& gated_delta_kernels();

// What a call of such sizes and type asks of its row.
KernelCall gated_delta_call(std::int64_t key_dim, std::int64_t value_dim, at::ScalarType dtype = at::kFloat,
                            at::Device device = at::kCPU);

}  // namespace ttt
