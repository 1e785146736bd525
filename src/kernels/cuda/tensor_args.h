// Tensors as CUDA kernels are handed them: pointers to Elements, and the steps from row to row, in elements. The values
// of a row are contiguous. Element: std::uint16_t for bf16, or float.
#pragma once

#include <cstdint>
#include <type_traits>

namespace ttt::kernels::cuda {

// "bf16" or "fp32".
template <class Element>
const char* name_of() {
  return std::is_same_v<Element, std::uint16_t> ? "bf16" : "fp32";
}

// Row r of a tensor [N,D] starts at data + r * step.
template <class T>
struct StridedRows {
  T* data = nullptr;
  std::int64_t step = 0;
};

// Row t of sequence b of a tensor [B,T,D] starts at data + b * sequence + t * row.
template <class T>
struct SequenceRows {
  T* data = nullptr;
  std::int64_t sequence = 0;
  std::int64_t row = 0;
};

// Row t of head h of sequence b of a tensor [B,H,T,K] starts at data + b * sequence + h * head + t * row.
template <class T>
struct HeadRows {
  T* data = nullptr;
  std::int64_t sequence = 0;
  std::int64_t head = 0;
  std::int64_t row = 0;
};

}  // namespace ttt::kernels::cuda
