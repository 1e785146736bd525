// Vectors of 64 bytes for loops over columns: GCC's and Clang's vector extension, lowered to what the instruction set
// of the function that they are inlined into has. Included by the files of this folder only.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/bfloat16.h"

// Compiles a function once per instruction set; the loader chooses.
#if defined(__x86_64__) && defined(__gnu_linux__)
#define TTT_CLONES __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define TTT_CLONES
#endif
#define TTT_INLINE __attribute__((always_inline))

namespace ttt::kernels {

template <class T>
struct LanesOf;
template <>
struct LanesOf<float> {
  typedef float Type __attribute__((vector_size(64)));
};
template <>
struct LanesOf<double> {
  typedef double Type __attribute__((vector_size(64)));
};
template <class T>
using Lanes = typename LanesOf<T>::Type;
typedef std::int32_t IntLanes __attribute__((vector_size(64)));
typedef std::uint32_t WordLanes __attribute__((vector_size(64)));
typedef std::uint16_t HalfLanes __attribute__((vector_size(32)));

template <class T>
constexpr std::int64_t kLanes = 64 / static_cast<std::int64_t>(sizeof(T));

template <class X>
struct Tag {
  using Type = X;
};
template <int kCount>
struct Count {
  static constexpr int kValue = kCount;
};

// X: one value or a vector of them.
template <class X, class T>
TTT_INLINE inline X load(const T* p) {
  X x;
  std::memcpy(&x, p, sizeof(X));
  return x;
}
template <class X, class T>
TTT_INLINE inline void save(T* p, const X& x) {
  std::memcpy(p, &x, sizeof(X));
}

// bf16: X is float or Lanes<float>.
template <class X>
TTT_INLINE inline X load(const BFloat16* p) {
  X x;
  if constexpr (sizeof(X) == sizeof(float)) {
    const std::uint32_t word = static_cast<std::uint32_t>(p->bits) << 16;
    std::memcpy(&x, &word, sizeof(X));
  } else {
    const WordLanes words = __builtin_convertvector(load<HalfLanes>(&p->bits), WordLanes) << 16;
    std::memcpy(&x, &words, sizeof(X));
  }
  return x;
}
TTT_INLINE inline void save(BFloat16* p, const Lanes<float>& x) {
  WordLanes words;
  std::memcpy(&words, &x, sizeof words);
  // All ones where x is NaN, which becomes 0x7fc0; by whole numbers, as exp_of() in lanes_math.h.
  const WordLanes nan = 0u - ((0x7f800000 - (words & 0x7fffffff)) >> 31);
  words = (words + 0x7fff + (words >> 16 & 1)) >> 16;
  save(&p->bits, __builtin_convertvector((words & ~nan) | (nan & 0x7fc0), HalfLanes));
}
TTT_INLINE inline void save(BFloat16* p, const float& x) {
  std::uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  word = (word + 0x7fff + (word >> 16 & 1)) >> 16;
  p->bits = static_cast<std::uint16_t>(x == x ? word : 0x7fc0);
}

// body(k, Tag<X>): X = vector while a whole one fits, then X = T for the rest.
template <class T, class Body>
TTT_INLINE inline void columns(std::int64_t cols, const Body& body) {
  std::int64_t k = 0;
  for (; k + kLanes<T> <= cols; k += kLanes<T>) body(k, Tag<Lanes<T>>());
  for (; k < cols; ++k) body(k, Tag<T>());
}

// The sum of a vector's values, by halves.
TTT_INLINE inline float sum_of(const Lanes<float>& x) {
  const auto eight = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
                     __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
  const auto four =
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  return (four[0] + four[2]) + (four[1] + four[3]);
}
TTT_INLINE inline double sum_of(const Lanes<double>& x) {
  const auto four = __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
  return (four[0] + four[2]) + (four[1] + four[3]);
}

// A sum over columns.
template <class T>
struct Sum {
  Lanes<T> lanes = {};
  T rest = 0;
  TTT_INLINE void add(const Lanes<T>& x) { lanes += x; }
  TTT_INLINE void add(T x) { rest += x; }
  TTT_INLINE T total() const { return sum_of(lanes) + rest; }
};

}  // namespace ttt::kernels
