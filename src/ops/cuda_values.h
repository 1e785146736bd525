// Tensors as CUDA kernels take them: pointers to Elements (kernels/cuda/tensor_args.h) and steps.
#pragma once

#include <ATen/ATen.h>

#include <type_traits>

#include "base/error.h"
#include "kernels/cuda/tensor_args.h"

namespace ttt {

// The contiguous tensor, at an address of 16 bytes: a view that begins inside a row is copied.
inline at::Tensor at_16_bytes(const at::Tensor& x) {
  const bool fits = x.is_contiguous() && reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % 16 == 0;
  return fits ? x : x.clone(at::MemoryFormat::Contiguous);
}

// Calls body with a value of the Element for that type: std::uint16_t for bf16, float.
template <class Body>
void dispatch_elements(at::ScalarType type, const Body& body) {
  if (type == at::kFloat) return body(float());
  TTT_CHECK(type == at::kBFloat16, type);
  body(std::uint16_t());
}

// The values of a tensor; null for an undefined one.
template <class T>
T* data_of(const at::Tensor& x) {
  if (!x.defined()) return nullptr;
  const auto type = x.scalar_type();
  using Value = std::remove_const_t<T>;
  TTT_CHECK(type == (std::is_same_v<Value, float>           ? at::kFloat
                     : std::is_same_v<Value, std::uint16_t> ? at::kBFloat16
                                                            : at::kLong),
            type);
  return static_cast<T*>(x.data_ptr());
}

// [B,H,T] or [B,H,T,K] as rows of heads.
template <class T>
kernels::cuda::HeadRows<T> head_rows(const at::Tensor& x) {
  return {data_of<T>(x), x.stride(0), x.stride(1), x.stride(2)};
}

}  // namespace ttt
