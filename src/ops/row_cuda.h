// The small ops on CUDA kernels (kernels/cuda/row_args.h): what their functions of autograd call where the CPU's row
// loops are not it. Tensors are contiguous where nothing else is said, outputs allocated by the caller. "Stored" is the
// type of activations, bf16 or fp32; all else is fp32. Equations: the ops' headers.
//
// Shapes: N tokens, D width, R partial sums, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/cuda_target.h"

namespace ttt {

// Whether CUDA kernels take a call with activations of that type on x's device.
inline bool cuda_takes(const at::Tensor& x, at::ScalarType activations) {
  return (activations == at::kFloat || activations == at::kBFloat16) && cuda_kernels(x) != nullptr;
}

namespace on_cuda {

// x [...,D] fp32 (+ delta Stored, then x_new gets the sum), weight [D] -> y Stored, scale [N].
void rms_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight_D, double eps,
              const at::Tensor& x_new, const at::Tensor& y, const at::Tensor& scale_N);
// dx (d_delta: the same, Stored); d_residual may be undefined, d_delta too. Returns dweight [D].
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_D,
                             const at::Tensor& scale_N, const at::Tensor& d_residual, const at::Tensor& dx,
                             const at::Tensor& d_delta);

// o [B,H,T,K] (bf16 or fp32, rows contiguous), gate Stored or undefined -> y [B,T,D] Stored, mean [N], scale [N].
void layer_norm_gate(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                     const at::Tensor& gate_BTD, double eps, const at::Tensor& y_BTD, const at::Tensor& mean_N,
                     const at::Tensor& scale_N);
struct NormGradients {
  at::Tensor weight_D, bias_D;
};
NormGradients layer_norm_gate_backward(const at::Tensor& dy_BTD, const at::Tensor& o_BHTK, const at::Tensor& weight_D,
                                       const at::Tensor& bias_D, const at::Tensor& gate_BTD, const at::Tensor& mean_N,
                                       const at::Tensor& scale_N, const at::Tensor& d_o_BHTK,
                                       const at::Tensor& d_gate_BTD);

void swiglu(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& y);
void swiglu_backward(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up, const at::Tensor& d_gate,
                     const at::Tensor& d_up);

// logits [N,V] -> loss [N], log_sum [N]; then logits become their gradient, in place.
void cross_entropy(const at::Tensor& logits_NV, const at::Tensor& targets_N, const at::Tensor& loss_N,
                   const at::Tensor& log_sum_N);
void cross_entropy_gradient(const at::Tensor& logits_NV, const at::Tensor& targets_N, const at::Tensor& log_sum_N,
                            const at::Tensor& grad_N);

}  // namespace on_cuda
}  // namespace ttt
