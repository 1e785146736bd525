// Vectors of 64 bytes for loops over columns: GCC's and Clang's vector extension, lowered to what the instruction set
// of the function that they are inlined into has. Included by the files of this folder only.
#pragma once

#include <cstdint>
#include <cstring>

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

template <class T>
constexpr std::int64_t kLanes = 64 / static_cast<std::int64_t>(sizeof(T));

template <class X>
struct Tag {
  using Type = X;
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

// body(k, Tag<X>): X = vector while a whole one fits, then X = T for the rest.
template <class T, class Body>
TTT_INLINE inline void columns(std::int64_t cols, const Body& body) {
  std::int64_t k = 0;
  for (; k + kLanes<T> <= cols; k += kLanes<T>) body(k, Tag<Lanes<T>>());
  for (; k < cols; ++k) body(k, Tag<T>());
}

// A sum over columns.
template <class T>
struct Sum {
  Lanes<T> lanes = {};
  T rest = 0;
  TTT_INLINE void add(const Lanes<T>& x) { lanes += x; }
  TTT_INLINE void add(T x) { rest += x; }
  TTT_INLINE T total() const {
    T sum = rest;
    for (std::int64_t i = 0; i < kLanes<T>; ++i) sum += lanes[i];
    return sum;
  }
};

}  // namespace ttt::kernels
