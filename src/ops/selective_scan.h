// Mamba's selective scan (arXiv 2312.00752, algorithm 2): a diagonal linear recurrence whose step and projections
// depend on the token,
//
//     h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t;     y_t = sum_n C_t,n h_t,n + D x_t
//
// Shapes: B batch, T time, E channels, N = 16 states.
#pragma once

#include <ATen/core/Tensor.h>

#include "ops/kernel_table.h"

namespace ttt {

struct ScanInputs {
  at::Tensor x_BTE;
  at::Tensor dt_BTE;  // positive: after the softplus
  at::Tensor A_EN;    // negative
  at::Tensor B_BTN, C_BTN;
  at::Tensor D_E;
};

// -> y [B,T,E], from h_0 = 0. Differentiable in all inputs, of one floating-point type; sums run in that type.
// Deterministic for any number of threads.
at::Tensor selective_scan(const ScanInputs& inputs);

// Continues from the state h [B,N,E] (contiguous, of x's type), which advances by T tokens in place. No gradients.
at::Tensor selective_scan_advance(const ScanInputs& inputs, at::Tensor& h_BNE);

// The same token by token as ATen calls, on any device: what the CPU's loops are tested against, and what runs
// elsewhere.
at::Tensor selective_scan_composed(const ScanInputs& inputs, at::Tensor* h_BNE = nullptr);

const KernelTable& selective_scan_kernels();  // its rows

}  // namespace ttt
