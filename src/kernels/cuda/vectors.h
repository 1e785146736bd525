// Neighbouring values of a row, bf16 or fp32 in memory, fp32 in the sums: read and written in vectors of up to 16
// bytes.
#pragma once

#include <cstddef>

#include "kernels/cuda/warp.h"

namespace ttt::kernels::cuda {

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

template <int n>
TTT_DEVICE void unpack(const Packed<float, n>& packed, float (&x)[n]) {
  TTT_UNROLL
  for (int i = 0; i < n; ++i) x[i] = packed.value[i];
}
template <int n>
TTT_DEVICE void unpack(const Packed<std::uint16_t, n>& packed, float (&x)[n]) {
  if constexpr (n == 1) {
    x[0] = low_bf16(packed.value);
  } else {
    TTT_UNROLL
    for (int i = 0; i < n / 2; ++i) x[2 * i] = low_bf16(packed.word[i]), x[2 * i + 1] = high_bf16(packed.word[i]);
  }
}

template <int n, class Element>
TTT_DEVICE void load_values(const Element* p, float (&x)[n], bool valid = true) {
  unpack(load_packed<n>(p, valid), x);
}
template <int n>
TTT_DEVICE void store_values(float* p, const float (&x)[n]) {
  Packed<float, n> packed;
  TTT_UNROLL
  for (int i = 0; i < n; ++i) packed.value[i] = x[i];
  *reinterpret_cast<Packed<float, n>*>(aligned<alignof(Packed<float, n>)>(p)) = packed;
}
template <int n>
TTT_DEVICE void store_values(std::uint16_t* p, const float (&x)[n]) {
  if constexpr (n == 1) {
    *p = static_cast<std::uint16_t>(pack_bf16(x[0], 0));
  } else {
    Packed<std::uint16_t, n> packed;
    TTT_UNROLL
    for (int i = 0; i < n / 2; ++i) packed.word[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
    *reinterpret_cast<Packed<std::uint16_t, n>*>(aligned<alignof(Packed<std::uint16_t, n>)>(p)) = packed;
  }
}

}  // namespace ttt::kernels::cuda
