// Values in memory, bf16 or fp32, and fp32 in the sums: one by one, or neighbours in vectors of up to 16 bytes.
#pragma once

#include <cstddef>

#include "kernels/cuda/tensor_args.h"
#include "kernels/cuda/warp.h"

namespace ttt::kernels::cuda {

// --- one value ---

TTT_DEVICE float value_of(float x) {
  return x;
}
TTT_DEVICE float value_of(std::uint16_t x) {
  return low_bf16(x);
}
TTT_DEVICE void store_value(float* p, float x) {
  *p = x;
}
TTT_DEVICE void store_value(std::uint16_t* p, float x) {
  *p = static_cast<std::uint16_t>(pack_bf16(x, 0));
}

// --- n neighbours ---

constexpr std::size_t vector_alignment(std::size_t bytes) {
  return bytes < 16 ? bytes : 16;
}

// n values as they lie in memory: aligned to their size or to 16 bytes, whichever is less. Two bf16 are a word, so that
// each takes half a register.
template <class Element, int n>
struct alignas(vector_alignment(sizeof(Element) * n)) Packed {
  Element value[n];
};
template <int n>
struct [[gnu::may_alias]] alignas(vector_alignment(2 * n)) Packed<std::uint16_t, n> {
  std::uint32_t word[n / 2];
};
template <>
struct Packed<std::uint16_t, 1> {
  std::uint16_t value;
};

// Zeros where not valid (p is not read then).
template <int n, class Element>
TTT_DEVICE Packed<Element, n> load_packed(const Element* p, bool valid = true) {
  Packed<Element, n> x = {};
  if (valid) x = *reinterpret_cast<const Packed<Element, n>*>(aligned<alignof(Packed<Element, n>)>(p));
  return x;
}

// x: [n], here and below.
template <int n>
TTT_DEVICE void unpack(const Packed<float, n>& packed, float* x) {
  TTT_UNROLL
  for (int i = 0; i < n; ++i) x[i] = packed.value[i];
}
template <int n>
TTT_DEVICE void unpack(const Packed<std::uint16_t, n>& packed, float* x) {
  if constexpr (n == 1) {
    x[0] = low_bf16(packed.value);
  } else {
    TTT_UNROLL
    for (int i = 0; i < n / 2; ++i) x[2 * i] = low_bf16(packed.word[i]), x[2 * i + 1] = high_bf16(packed.word[i]);
  }
}

template <int n, class Element>
TTT_DEVICE void load_values(const Element* p, float* x, bool valid = true) {
  unpack(load_packed<n>(p, valid), x);
}
template <int n>
TTT_DEVICE void store_values(float* p, const float* x) {
  Packed<float, n> packed;
  TTT_UNROLL
  for (int i = 0; i < n; ++i) packed.value[i] = x[i];
  *reinterpret_cast<Packed<float, n>*>(aligned<alignof(Packed<float, n>)>(p)) = packed;
}
template <int n>
TTT_DEVICE void store_values(std::uint16_t* p, const float* x) {
  if constexpr (n == 1) {
    store_value(p, x[0]);
  } else {
    Packed<std::uint16_t, n> packed;
    TTT_UNROLL
    for (int i = 0; i < n / 2; ++i) packed.word[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
    *reinterpret_cast<Packed<std::uint16_t, n>*>(aligned<alignof(Packed<std::uint16_t, n>)>(p)) = packed;
  }
}

// --- whether vectors of n values fit: on the host, to choose between variants of a kernel, or in a kernel ---

// At these pointers; null is one where they do.
template <int n, class... T>
TTT_ANYWHERE bool vectors_fit(const T*... data) {
  return ((reinterpret_cast<std::uintptr_t>(data) % alignof(Packed<T, n>) == 0) && ...);
}
template <int n, class T>
TTT_ANYWHERE bool vectors_fit(const SequenceRows<T>& rows) {
  return vectors_fit<n>(rows.data) && (rows.sequence | rows.row) % n == 0;
}
template <int n, class T>
TTT_ANYWHERE bool vectors_fit(const HeadRows<T>& rows) {
  return vectors_fit<n>(rows.data) && (rows.sequence | rows.head | rows.row) % n == 0;
}

}  // namespace ttt::kernels::cuda
