// Vectors of 32 bytes: what GCC makes of choices between wider ones is scalar under AVX2.
#include "kernels/cpu/conv_silu.h"

#include <cmath>
#include <cstring>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/lanes.h"

namespace ttt::rows {
namespace {

using kernels::BFloat16;
using kernels::load;
using kernels::save;

typedef float Eight __attribute__((vector_size(32)));
typedef std::int32_t IntEight __attribute__((vector_size(32)));
typedef std::uint32_t WordEight __attribute__((vector_size(32)));
typedef std::uint16_t HalfEight __attribute__((vector_size(16)));

TTT_INLINE inline Eight load_eight(const float* p) {
  return load<Eight>(p);
}
TTT_INLINE inline Eight load_eight(const BFloat16* p) {
  const WordEight words = __builtin_convertvector(load<HalfEight>(&p->bits), WordEight) << 16;
  Eight x;
  std::memcpy(&x, &words, sizeof x);
  return x;
}
TTT_INLINE inline void save_eight(float* p, Eight x) {
  save(p, x);
}
TTT_INLINE inline void save_eight(BFloat16* p, Eight x) {
  WordEight words;
  std::memcpy(&words, &x, sizeof words);
  words = (words + 0x7fff + (words >> 16 & 1)) >> 16;
  const WordEight nan = words * 0 + 0x7fc0;
  words = x == x ? words : nan;
  save(&p->bits, __builtin_convertvector(words, HalfEight));
}

// 1 / (1 + exp(-z)); exp as exp_of() in lanes_math.h: z < -88.37 gives zero, z > 80 one.
TTT_INLINE inline Eight sigmoid(Eight z) {
  const Eight zeros = {};
  Eight x = -z;
  x = x < -80.0f ? zeros - 80.0f : x;
  x = x > 88.5f ? zeros + 88.5f : x;  // 2^128 is infinite
  const Eight scaled = x * 1.44269504088896341f;
  const IntEight n = __builtin_convertvector(scaled + (scaled < 0.0f ? zeros - 0.5f : zeros + 0.5f), IntEight);
  return 1.0f / (1.0f + kernels::exp_of_parts(x, n));
}
template <class T>
TTT_INLINE inline T sigmoid(T z) {
  return T(1) / (T(1) + std::exp(-z));
}

// body(k, Count<8>()) for eight columns at a time, body(k, Count<1>()) for the rest, and for all of fp64.
template <class T, class Body>
TTT_INLINE inline void eight_columns(std::int64_t D, const Body& body) {
  std::int64_t k = 0;
  if (sizeof(T) == sizeof(float)) {
    for (; k + 8 <= D; k += 8) body(k, kernels::Count<8>());
  }
  for (; k < D; ++k) body(k, kernels::Count<1>());
}

// p[k], as a T, or the eight values from there.
template <int kCount, class T, class S>
TTT_INLINE inline auto values_at(const S* p) {
  if constexpr (kCount == 8 && sizeof(T) == sizeof(float)) {
    return load_eight(p);
  } else {
    return load<T>(p);
  }
}

#define TTT_CONV_BODY [&](std::int64_t k, auto count) __attribute__((always_inline))
#define TTT_CONV_AT(p) values_at<decltype(count)::kValue, T>((p) + k)
#define TTT_CONV_SUM                                                                             \
  (TTT_CONV_AT(weight) * TTT_CONV_AT(taps[0]) + TTT_CONV_AT(weight + D) * TTT_CONV_AT(taps[1]) + \
   TTT_CONV_AT(weight + 2 * D) * TTT_CONV_AT(taps[2]) + TTT_CONV_AT(weight + 3 * D) * TTT_CONV_AT(taps[3]))

template <class P, class X>
TTT_INLINE inline void put(P* p, X x) {
  if constexpr (sizeof(X) == sizeof(Eight)) {
    save_eight(p, x);
  } else {
    save(p, x);
  }
}

template <class T, class S>
TTT_INLINE inline void conv_silu_impl(std::int64_t D, const S* const* taps, const T* weight, T* y) {
  eight_columns<T>(
      D, TTT_CONV_BODY {
        const auto z = TTT_CONV_SUM;
        put(y + k, z * sigmoid(z));
      });
}

template <class T, class S>
TTT_INLINE inline void conv_silu_gradient_impl(std::int64_t D, const S* const* taps, const T* weight, const T* dy,
                                               T* dz) {
  eight_columns<T>(
      D, TTT_CONV_BODY {
        const auto z = TTT_CONV_SUM;
        const auto s = sigmoid(z);
        put(dz + k, TTT_CONV_AT(dy) * (s * (T(1) + z * (T(1) - s))));
      });
}

template <class T, class S>
TTT_INLINE inline void conv_silu_backward_impl(std::int64_t D, const S* const* taps, const T* const* dz_later,
                                               const T* weight, S* dx, T* dweight) {
  eight_columns<T>(
      D, TTT_CONV_BODY {
        const auto dz = TTT_CONV_AT(dz_later[3]);
        put(dx + k, TTT_CONV_AT(weight) * TTT_CONV_AT(dz_later[0]) +
                        TTT_CONV_AT(weight + D) * TTT_CONV_AT(dz_later[1]) +
                        TTT_CONV_AT(weight + 2 * D) * TTT_CONV_AT(dz_later[2]) + TTT_CONV_AT(weight + 3 * D) * dz);
        for (int w = 0; w < 4; ++w) put(dweight + w * D + k, TTT_CONV_AT(dweight + w * D) + dz * TTT_CONV_AT(taps[w]));
      });
}

}  // namespace

// target_clones takes no templates: one specialisation for each pair of types.
#define TTT_INSTANTIATE_CONV_SILU(T, S)                                                                        \
  template <>                                                                                                  \
  TTT_CLONES void conv_silu<T, S>(std::int64_t D, const S* const* taps, const T* weight, T* y) {               \
    conv_silu_impl<T, S>(D, taps, weight, y);                                                                  \
  }                                                                                                            \
  template <>                                                                                                  \
  TTT_CLONES void conv_silu_gradient<T, S>(std::int64_t D, const S* const* taps, const T* weight, const T* dy, \
                                           T* dz) {                                                            \
    conv_silu_gradient_impl<T, S>(D, taps, weight, dy, dz);                                                    \
  }                                                                                                            \
  template <>                                                                                                  \
  TTT_CLONES void conv_silu_backward<T, S>(std::int64_t D, const S* const* taps, const T* const* dz_later,     \
                                           const T* weight, S* dx, T* dweight) {                               \
    conv_silu_backward_impl<T, S>(D, taps, dz_later, weight, dx, dweight);                                     \
  }

TTT_INSTANTIATE_CONV_SILU(float, float)
TTT_INSTANTIATE_CONV_SILU(double, double)
TTT_INSTANTIATE_CONV_SILU(float, BFloat16)

}  // namespace ttt::rows
