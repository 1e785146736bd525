// The ops along time on CUDA kernels (kernels/cuda/conv_rope_args.h, selective_scan_args.h): what their functions of
// autograd call where the CPU's loops are not it. Outputs are allocated by the caller. "Stored" is the type of
// activations, bf16 or fp32; weights, tables and sums are fp32. Equations: the ops' headers.
//
// Shapes: B batch, T time, D = H*K width, W = 4 taps.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/rope.h"
#include "ops/selective_scan.h"

namespace ttt::on_cuda {

struct ConvParameters {
  at::Tensor weight_WD, bias_D;
};

// x [B,T,D] Stored with contiguous rows, window [B,W-1,D] or undefined -> y.
void causal_conv(const at::Tensor& x_BTD, const ConvParameters& conv, const at::Tensor& window_BWD,
                 const at::Tensor& y_BTD);
// dx; returns the gradients of weight and bias.
ConvParameters causal_conv_backward(const at::Tensor& dy_BTD, const at::Tensor& x_BTD, const at::Tensor& weight_WD,
                                    const at::Tensor& window_BWD, const at::Tensor& dx_BTD);

// x [B,T,D] Stored -> y [B,H,T,K], Stored or fp32; and the inverse rotation of dy.
void rope(const at::Tensor& x_BTD, const RopeTable& table, std::int64_t offset, const at::Tensor& y_BHTK);
void rope_backward(const at::Tensor& dy_BHTK, const RopeTable& table, std::int64_t offset, const at::Tensor& dx_BTD);

// Two convolutions of the same rows, each rotated and split into heads.
void conv_rope(const at::Tensor& x_BTD, const ConvParameters& q_conv, const ConvParameters& k_conv,
               const at::Tensor& window_BWD, const RopeTable& table, std::int64_t offset, const at::Tensor& q_BHTK,
               const at::Tensor& k_BHTK);
struct ConvRopeGradients {
  ConvParameters q, k;
};
ConvRopeGradients conv_rope_backward(const at::Tensor& dq_BHTK, const at::Tensor& dk_BHTK, const at::Tensor& x_BTD,
                                     const at::Tensor& q_weight_WD, const at::Tensor& k_weight_WD,
                                     const at::Tensor& window_BWD, const RopeTable& table, std::int64_t offset,
                                     const at::Tensor& dx_BTD);

// fp32, contiguous, A as [N,E]. h [B,N,E] is advanced, or undefined: from zeros. Returns y; `starts` gets the states
// before each chunk when it is not null.
at::Tensor selective_scan(const ScanInputs& in, const at::Tensor& A_NE, const at::Tensor& h_BNE, at::Tensor* starts);
struct ScanGradients {
  at::Tensor x_BTE, dt_BTE, A_NE, B_BTN, C_BTN, D_E;
};
ScanGradients selective_scan_backward(const ScanInputs& in, const at::Tensor& A_NE, const at::Tensor& starts,
                                      const at::Tensor& dy_BTE);

}  // namespace ttt::on_cuda
