// The rows of the gated delta rule's kernel table (the table itself: gated_delta_kernels() in gated_delta.h).
#pragma once

#include <vector>

#include "ops/gated_delta.h"

namespace ttt {

// kernels/cpu/gated_delta_fused.h behind tensors, a row for each instruction set, best first: CPU, fp32, head sizes
// that are multiples of 16 up to 256 (gated_delta_fused.cpp).
std::vector<GatedDeltaKernel> fused_gated_delta_kernels();

// The chunked form as batched ATen calls, any device, fp32 and fp64 (gated_delta_composed.cpp).
GatedDeltaKernel composed_gated_delta_kernel();

// kernels/reference behind tensors: plain loops, CPU, fp32 and fp64 (gated_delta_reference.cpp).
GatedDeltaKernel reference_gated_delta_kernel();

}  // namespace ttt
