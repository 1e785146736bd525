// Vectors as wide as the instruction set's registers: what GCC makes of choices between wider ones is scalar.
#include "kernels/cpu/conv_silu.h"

#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/lanes.h"

namespace ttt::rows {
namespace {

using kernels::BFloat16;
using kernels::Count;
using kernels::load;
using kernels::save;

// The values of kBytes / 4 columns.
template <int kBytes>
struct ConvVectors {
  typedef float Floats __attribute__((vector_size(kBytes)));
  typedef std::int32_t Ints __attribute__((vector_size(kBytes)));
  typedef std::uint32_t Words __attribute__((vector_size(kBytes)));
  typedef std::uint16_t Halves __attribute__((vector_size(kBytes / 2)));
};
template <int kBytes>
using ConvFloats = typename ConvVectors<kBytes>::Floats;

template <int kBytes>
TTT_INLINE inline ConvFloats<kBytes> load_vector(const float* p) {
  return load<ConvFloats<kBytes>>(p);
}
template <int kBytes>
TTT_INLINE inline ConvFloats<kBytes> load_vector(const BFloat16* p) {
  using Vectors = ConvVectors<kBytes>;
  const auto words = __builtin_convertvector(load<typename Vectors::Halves>(&p->bits), typename Vectors::Words) << 16;
  ConvFloats<kBytes> x;
  std::memcpy(&x, &words, sizeof x);
  return x;
}
template <int kBytes>
TTT_INLINE inline void save_vector(float* p, ConvFloats<kBytes> x) {
  save(p, x);
}
template <int kBytes>
TTT_INLINE inline void save_vector(BFloat16* p, ConvFloats<kBytes> x) {
  using Vectors = ConvVectors<kBytes>;
  typename Vectors::Words words;
  std::memcpy(&words, &x, sizeof words);
  words = (words + 0x7fff + (words >> 16 & 1)) >> 16;
  const typename Vectors::Words nan = words * 0 + 0x7fc0;
  words = x == x ? words : nan;
  save(&p->bits, __builtin_convertvector(words, typename Vectors::Halves));
}

// 1 / (1 + exp(-z)); exp as exp_of() in lanes_math.h: z < -88.38 gives zero, z > 80 one.
template <int kBytes>
TTT_INLINE inline ConvFloats<kBytes> sigmoid(ConvFloats<kBytes> z) {
  using Floats = ConvFloats<kBytes>;
  const Floats zeros = {};
  Floats x = -z;
  x = x < -80.0f ? zeros - 80.0f : x;
  x = x > 88.5f ? zeros + 88.5f : x;  // 2^128 is infinite
  const Floats scaled = x * 1.44269504088896341f;
  const auto n = __builtin_convertvector(scaled + (scaled < 0.0f ? zeros - 0.5f : zeros + 0.5f),
                                         typename ConvVectors<kBytes>::Ints);
  return 1.0f / (1.0f + kernels::exp_of_parts(x, n));
}

// Columns at a time: a vector's values, or one.
template <int kBytes>
struct Vector {
  using X = ConvFloats<kBytes>;
  static constexpr std::int64_t kColumns = kBytes / 4;
  template <class S>
  TTT_INLINE static X at(const S* p) {
    return load_vector<kBytes>(p);
  }
  template <class P>
  TTT_INLINE static void put(P* p, X x) {
    save_vector<kBytes>(p, x);
  }
  TTT_INLINE static X sigmoid_of(X z) { return sigmoid<kBytes>(z); }
};
template <class T>
struct One {
  using X = T;
  static constexpr std::int64_t kColumns = 1;
  template <class S>
  TTT_INLINE static T at(const S* p) {
    return load<T>(p);
  }
  template <class P>
  TTT_INLINE static void put(P* p, T x) {
    save(p, x);
  }
  TTT_INLINE static T sigmoid_of(T z) { return T(1) / (T(1) + std::exp(-z)); }
};

#define TTT_CONV_BODY [&](std::int64_t k, auto columns) __attribute__((always_inline))
#define TTT_CONV_COLUMNS using Columns = decltype(columns)
#define TTT_CONV_X typename decltype(columns)::X

// body(k, Vector) for whole vectors of columns, body(k, One) for the rest, and for all of fp64.
template <int kBytes, class T, class Body>
TTT_INLINE inline void conv_columns(std::int64_t D, const Body& body) {
  std::int64_t k = 0;
  if constexpr (std::is_same_v<T, float>) {
    for (; k + Vector<kBytes>::kColumns <= D; k += Vector<kBytes>::kColumns) body(k, Vector<kBytes>());
  }
  for (; k < D; ++k) body(k, One<T>());
}

// z_i of column k on, from x of kTokens + 3 tokens and the four taps.
template <int kTokens, class X>
TTT_INLINE inline void convolve(const X (&x)[kTokens + 3], const X (&weight)[4], X (&z)[kTokens]) {
#pragma GCC unroll 4
  for (int i = 0; i < kTokens; ++i)
    z[i] = weight[0] * x[i] + weight[1] * x[i + 1] + weight[2] * x[i + 2] + weight[3] * x[i + 3];
}
template <class Columns, std::size_t kRows, class S, class X>
TTT_INLINE inline void load_rows(const S* const* rows, std::int64_t k, X (&x)[kRows]) {
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kRows; ++i) x[i] = Columns::at(rows[i] + k);
}
template <class Columns, std::size_t kRows, class T, class X>
TTT_INLINE inline void load_matrix(const T* rows, std::int64_t D, std::int64_t k, X (&x)[kRows]) {
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kRows; ++i) x[i] = Columns::at(rows + static_cast<std::int64_t>(i) * D + k);
}

template <int kBytes, int kTokens, class T, class S>
TTT_INLINE inline void conv_silu_tokens(std::int64_t D, const S* const* x, const T* weight, T* y) {
  conv_columns<kBytes, T>(
      D, TTT_CONV_BODY {
        TTT_CONV_COLUMNS;
        TTT_CONV_X x_k[kTokens + 3], weight_k[4], z[kTokens];
        load_rows<Columns>(x, k, x_k);
        load_matrix<Columns>(weight, D, k, weight_k);
        convolve<kTokens>(x_k, weight_k, z);
#pragma GCC unroll 4
        for (int i = 0; i < kTokens; ++i) Columns::put(y + i * D + k, TTT_CONV_X(z[i] * Columns::sigmoid_of(z[i])));
      });
}

// dz = dy silu'(z)
template <class Columns, class X>
TTT_INLINE inline X silu_gradient(X z, X dy) {
  const X s = Columns::sigmoid_of(z);
  return dy * (s * (1 + z * (1 - s)));
}

template <int kBytes, class T, class S>
TTT_INLINE inline void conv_silu_gradient_impl(std::int64_t D, const S* const* x, const T* weight, const T* dy, T* dz) {
  conv_columns<kBytes, T>(
      D, TTT_CONV_BODY {
        TTT_CONV_COLUMNS;
        TTT_CONV_X x_k[4], weight_k[4], z[1];
        load_rows<Columns>(x, k, x_k);
        load_matrix<Columns>(weight, D, k, weight_k);
        convolve<1>(x_k, weight_k, z);
        Columns::put(dz + k, silu_gradient<Columns>(z[0], Columns::at(dy + k)));
      });
}

template <int kBytes, int kTokens, class T, class S>
TTT_INLINE inline void conv_silu_backward_tokens(std::int64_t D, const S* const* x, const T* weight, const T* dy,
                                                 T* later, S* dx, T* dweight) {
  conv_columns<kBytes, T>(
      D, TTT_CONV_BODY {
        TTT_CONV_COLUMNS;
        TTT_CONV_X x_k[kTokens + 3], weight_k[4], z[kTokens], dz[kTokens + 3];
        load_rows<Columns>(x, k, x_k);
        load_matrix<Columns>(weight, D, k, weight_k);
        convolve<kTokens>(x_k, weight_k, z);
#pragma GCC unroll 4
        for (int i = 0; i < kTokens; ++i) dz[i] = silu_gradient<Columns>(z[i], Columns::at(dy + i * D + k));
#pragma GCC unroll 3
        for (int i = 0; i < 3; ++i) dz[kTokens + i] = Columns::at(later + i * D + k);
#pragma GCC unroll 3
        for (int i = 0; i < 3; ++i) Columns::put(later + i * D + k, dz[i]);
#pragma GCC unroll 4
        for (int i = 0; i < kTokens; ++i)
          Columns::put(dx + i * D + k, TTT_CONV_X(weight_k[0] * dz[i + 3] + weight_k[1] * dz[i + 2] +
                                                  weight_k[2] * dz[i + 1] + weight_k[3] * dz[i]));
#pragma GCC unroll 4
        for (int w = 0; w < 4; ++w) {
          auto sum = Columns::at(dweight + w * D + k);
#pragma GCC unroll 4
          for (int i = 0; i < kTokens; ++i) sum += dz[i] * x_k[i + w];
          Columns::put(dweight + w * D + k, sum);
        }
      });
}

// --- tokens by fours, the others one by one ---

template <int kBytes, class T, class S>
TTT_INLINE inline void conv_silu_impl(std::int64_t D, std::int64_t N, const S* const* x, const T* weight, T* y) {
  if (N == 4) return conv_silu_tokens<kBytes, 4>(D, x, weight, y);
  for (std::int64_t i = 0; i < N; ++i) conv_silu_tokens<kBytes, 1>(D, x + i, weight, y + i * D);
}
template <int kBytes, class T, class S>
TTT_INLINE inline void conv_silu_backward_impl(std::int64_t D, std::int64_t N, const S* const* x, const T* weight,
                                               const T* dy, T* later, S* dx, T* dweight) {
  if (N == 4) return conv_silu_backward_tokens<kBytes, 4>(D, x, weight, dy, later, dx, dweight);
  for (std::int64_t i = N - 1; i >= 0; --i)
    conv_silu_backward_tokens<kBytes, 1>(D, x + i, weight, dy + i * D, later, dx + i * D, dweight);
}

}  // namespace

static_assert(kConvTokens == 4, "the passes above have four tokens and one");

// The passes, once per instruction set; the loader chooses.
#define TTT_CONV_SILU_PASSES(target, kBytes, T, S)                                                                   \
  target void conv_silu_of(std::int64_t D, std::int64_t N, const S* const* x, const T* weight, T* y) {               \
    conv_silu_impl<kBytes, T, S>(D, N, x, weight, y);                                                                \
  }                                                                                                                  \
  target void conv_silu_gradient_of(std::int64_t D, const S* const* x, const T* weight, const T* dy, T* dz) {        \
    conv_silu_gradient_impl<kBytes, T, S>(D, x, weight, dy, dz);                                                     \
  }                                                                                                                  \
  target void conv_silu_backward_of(std::int64_t D, std::int64_t N, const S* const* x, const T* weight, const T* dy, \
                                    T* later, S* dx, T* dweight) {                                                   \
    conv_silu_backward_impl<kBytes, T, S>(D, N, x, weight, dy, later, dx, dweight);                                  \
  }
#if defined(__x86_64__) && defined(__gnu_linux__)
#define TTT_CONV_SILU_VERSIONS(T, S)                                     \
  TTT_CONV_SILU_PASSES(__attribute__((target("avx512f,fma"))), 64, T, S) \
  TTT_CONV_SILU_PASSES(__attribute__((target("avx2,fma"))), 32, T, S)    \
  TTT_CONV_SILU_PASSES(__attribute__((target("default"))), 16, T, S)
#else
#define TTT_CONV_SILU_VERSIONS(T, S) TTT_CONV_SILU_PASSES(, 16, T, S)
#endif
#define TTT_INSTANTIATE_CONV_SILU(T, S)                                                                          \
  namespace {                                                                                                    \
  TTT_CONV_SILU_VERSIONS(T, S)                                                                                   \
  }                                                                                                              \
  template <>                                                                                                    \
  void conv_silu<T, S>(std::int64_t D, std::int64_t N, const S* const* x, const T* weight, T* y) {               \
    conv_silu_of(D, N, x, weight, y);                                                                            \
  }                                                                                                              \
  template <>                                                                                                    \
  void conv_silu_gradient<T, S>(std::int64_t D, const S* const* x, const T* weight, const T* dy, T* dz) {        \
    conv_silu_gradient_of(D, x, weight, dy, dz);                                                                 \
  }                                                                                                              \
  template <>                                                                                                    \
  void conv_silu_backward<T, S>(std::int64_t D, std::int64_t N, const S* const* x, const T* weight, const T* dy, \
                                T* later, S* dx, T* dweight) {                                                   \
    conv_silu_backward_of(D, N, x, weight, dy, later, dx, dweight);                                              \
  }

TTT_INSTANTIATE_CONV_SILU(float, float)
TTT_INSTANTIATE_CONV_SILU(double, double)
TTT_INSTANTIATE_CONV_SILU(float, BFloat16)

}  // namespace ttt::rows
