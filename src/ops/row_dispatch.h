// What the small ops share: what the CPU's row loops (rows.h) and the CUDA kernels take, and how a call is handed to
// the loops.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <type_traits>

#include "kernels/bfloat16.h"
#include "ops/kernel_table.h"

namespace ttt {

// What weights, statistics and inner loops are computed in beside activations of that type: fp64 for fp64, else fp32.
inline at::ScalarType wide_type(at::ScalarType activations) {
  return activations == at::kDouble ? at::kDouble : at::kFloat;
}

// Of the CPU's row loops: activations of these types, the rest of the call being of their wide_type().
inline KernelNeeds needs_of_cpu_rows() {
  return {.place = KernelPlace::kCpu, .dtypes = {at::kFloat, at::kDouble, at::kBFloat16}};
}
// Of the CUDA kernels of ops that work row by row, and along time.
inline KernelNeeds needs_of_cuda_rows() {
  return {.place = KernelPlace::kGpu, .dtypes = {at::kBFloat16, at::kFloat}};
}

// The types of a call as rows.h names them.
template <class Wide, class Stored>
struct RowTypes {
  using T = Wide;
  using S = Stored;
};

// Calls body with the RowTypes of activations of that type.
template <class Body>
void dispatch_rows(at::ScalarType activations, const Body& body) {
  if (activations == at::kFloat) {
    body(RowTypes<float, float>());
  } else if (activations == at::kBFloat16) {
    body(RowTypes<float, kernels::BFloat16>());
  } else {
    body(RowTypes<double, double>());
  }
}

// The values of a tensor of that type; null for an undefined one.
template <class S>
const S* values(const at::Tensor& x) {
  if (!x.defined()) return nullptr;
  if constexpr (std::is_same_v<S, kernels::BFloat16>) {
    return reinterpret_cast<const S*>(x.const_data_ptr<at::BFloat16>());
  } else {
    return x.const_data_ptr<S>();
  }
}
template <class S>
S* mutable_values(const at::Tensor& x) {
  if (!x.defined()) return nullptr;
  if constexpr (std::is_same_v<S, kernels::BFloat16>) {
    return reinterpret_cast<S*>(x.mutable_data_ptr<at::BFloat16>());
  } else {
    return x.mutable_data_ptr<S>();
  }
}

// Values below which a loop stays on one thread: about 10 microseconds of work.
constexpr std::int64_t kGrainValues = 16384;

inline std::int64_t grain_rows(std::int64_t row_size) {
  return row_size >= kGrainValues ? 1 : kGrainValues / row_size;
}

}  // namespace ttt
