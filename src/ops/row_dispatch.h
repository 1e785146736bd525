// What the small ops share: when the CPU's row loops (rows.h) take a call, and how it is handed to them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace ttt {

// Row loops exist for fp32 and fp64 on the CPU; everything else runs as ATen calls.
inline bool rows_take(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
}

// Calls body with a value of x's type, float or double.
template <class Body>
void dispatch_rows(const at::Tensor& x, const Body& body) {
  if (x.scalar_type() == at::kFloat) {
    body(float{});
  } else {
    body(double{});
  }
}

// Values below which a loop stays on one thread: about 10 microseconds of work.
constexpr std::int64_t kGrainValues = 16384;

inline std::int64_t grain_rows(std::int64_t row_size) {
  return row_size >= kGrainValues ? 1 : kGrainValues / row_size;
}

}  // namespace ttt
