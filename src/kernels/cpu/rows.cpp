// Vectors of 64 bytes by GCC's and Clang's vector extension, lowered to what the instruction set has; each public
// function is compiled once per instruction set and chosen when the program is loaded.
#include "kernels/cpu/rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/lanes_math.h"

namespace ttt::rows {
namespace {

using kernels::BFloat16;
using kernels::columns;
using kernels::exp_of;
using kernels::kLanes;
using kernels::Lanes;
using kernels::load;
using kernels::save;
using kernels::sigmoid;
using kernels::Sum;

#define TTT_BODY [&](std::int64_t k, auto tag) __attribute__((always_inline))
#define TTT_X typename decltype(tag)::Type
#define TTT_LOAD(p) load<TTT_X>((p) + k)

// gelu_tanh(x) = x s, s = sigmoid(2u), u = k (x + a x^3); its derivative s + x s (1 - s) 2 u'.
template <class T>
constexpr T kTwoK = T(1.5957691216057307117597842397375);  // 2 sqrt(2/pi)
template <class T>
constexpr T kA = T(0.044715);
template <class T, class X>
TTT_INLINE inline X gelu_sigmoid(X x) {
  return sigmoid<T>(kTwoK<T> * (x + kA<T> * x * x * x));
}

template <class T, class S>
TTT_INLINE inline void rms_norm_impl(std::int64_t rows, std::int64_t D, const T* x, const T* weight, T eps, S* y,
                                     T* rs) {
  for (std::int64_t r = 0; r < rows; ++r, x += D, y += D) {
    Sum<T> squares;
    columns<T>(
        D, TTT_BODY {
          const auto v = TTT_LOAD(x);
          squares.add(v * v);
        });
    const T scale = T(1) / std::sqrt(squares.total() / static_cast<T>(D) + eps);
    rs[r] = scale;
    columns<T>(
        D, TTT_BODY { save(y + k, TTT_X(TTT_LOAD(x) * scale * TTT_LOAD(weight))); });
  }
}

template <class T, class S>
TTT_INLINE inline void rms_norm_backward_impl(std::int64_t rows, std::int64_t D, const S* dy, const T* x,
                                              const T* weight, const T* rs, T* dx, T* dweight) {
  for (std::int64_t r = 0; r < rows; ++r, x += D, dy += D, dx += D) {
    const T scale = rs[r];
    Sum<T> dot;
    columns<T>(
        D, TTT_BODY {
          const auto product = TTT_LOAD(dy) * TTT_LOAD(x) * scale;
          save(dweight + k, TTT_LOAD(dweight) + product);
          dot.add(product * TTT_LOAD(weight));
        });
    const T mean = dot.total() / static_cast<T>(D) * scale;
    columns<T>(
        D, TTT_BODY { save(dx + k, scale * (TTT_LOAD(dy) * TTT_LOAD(weight) - TTT_LOAD(x) * mean)); });
  }
}

// Row by row, so that the matrix is one stream from memory, which is fetched ahead.
template <class T, class S>
TTT_INLINE inline void matrix_vector_impl(std::int64_t rows, std::int64_t D, const S* w, const S* x, S* y) {
  constexpr std::int64_t kStep = 4 * kLanes<T>, kAhead = 2048 / static_cast<std::int64_t>(sizeof(S));
  for (std::int64_t r = 0; r < rows; ++r, w += D) {
    Lanes<T> sums[4] = {};
    std::int64_t k = 0;
    for (; k + kStep <= D; k += kStep) {
      for (std::int64_t line = 0; line < kStep; line += 64 / static_cast<std::int64_t>(sizeof(S)))
        __builtin_prefetch(w + k + line + kAhead);
#pragma GCC unroll 4
      for (std::int64_t i = 0; i < 4; ++i)
        sums[i] += load<Lanes<T>>(w + k + i * kLanes<T>) * load<Lanes<T>>(x + k + i * kLanes<T>);
    }
    Sum<T> rest;
    columns<T>(
        D - k, [&](std::int64_t i, auto tag)
                   __attribute__((always_inline)) { rest.add(load<TTT_X>(w + k + i) * load<TTT_X>(x + k + i)); });
    rest.add((sums[0] + sums[1]) + (sums[2] + sums[3]));
    save(y + r, rest.total());
  }
}

template <class T, class S>
TTT_INLINE inline void swiglu_impl(std::int64_t n, const S* gate, const S* up, S* y) {
  columns<T>(
      n, TTT_BODY {
        const auto g = TTT_LOAD(gate);
        save(y + k, TTT_X(g * sigmoid<T>(g) * TTT_LOAD(up)));
      });
}

template <class T, class S>
TTT_INLINE inline void swiglu_backward_impl(std::int64_t n, const S* dy, const S* gate, const S* up, S* dgate, S* dup) {
  columns<T>(
      n, TTT_BODY {
        const auto g = TTT_LOAD(gate), d = TTT_LOAD(dy), s = sigmoid<T>(g);
        const TTT_X slope = s + g * s * (T(1) - s);
        save(dgate + k, TTT_X(d * TTT_LOAD(up) * slope));
        save(dup + k, TTT_X(d * g * s));
      });
}

TTT_INLINE inline Lanes<float> swap_pairs(const Lanes<float>& x) {
  return __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
}
TTT_INLINE inline Lanes<double> swap_pairs(const Lanes<double>& x) {
  return __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6);
}

template <class T, class From, class To>
TTT_INLINE inline void rotate_impl(std::int64_t K, const From* x, const T* cos, const T* sin, T direction, To* y) {
  std::int64_t k = 0;
  for (; k + kLanes<T> <= K; k += kLanes<T>) {
    const auto v = load<Lanes<T>>(x + k);
    save(y + k, Lanes<T>(v * load<Lanes<T>>(cos + k) + swap_pairs(v) * (load<Lanes<T>>(sin + k) * direction)));
  }
  for (; k < K; k += 2) {
    const T even = load<T>(x + k), odd = load<T>(x + k + 1);
    save(y + k, T(even * cos[k] + odd * (sin[k] * direction)));
    save(y + k + 1, T(odd * cos[k + 1] + even * (sin[k + 1] * direction)));
  }
}

template <class T, class S>
TTT_INLINE inline void conv_impl(std::int64_t D, const S* const* taps, const T* weight, const T* bias, S* y) {
  columns<T>(
      D, TTT_BODY {
        TTT_X sum = TTT_LOAD(bias) + TTT_LOAD(weight) * TTT_LOAD(taps[0]);
        sum += TTT_LOAD(weight + D) * TTT_LOAD(taps[1]);
        sum += TTT_LOAD(weight + 2 * D) * TTT_LOAD(taps[2]);
        sum += TTT_LOAD(weight + 3 * D) * TTT_LOAD(taps[3]);
        save(y + k, sum);
      });
}

template <class T, class S>
TTT_INLINE inline void conv_backward_impl(std::int64_t D, const S* const* taps, const S* const* dy_later, const S* dy,
                                          const T* weight, S* dx, T* dweight, T* dbias) {
  columns<T>(
      D, TTT_BODY {
        const auto d = TTT_LOAD(dy);
        TTT_X sum = TTT_LOAD(weight) * TTT_LOAD(dy_later[0]);
        for (int w = 1; w < 4; ++w) sum += TTT_LOAD(weight + w * D) * TTT_LOAD(dy_later[w]);
        save(dx + k, sum);
        for (int w = 0; w < 4; ++w) save(dweight + w * D + k, TTT_LOAD(dweight + w * D) + d * TTT_LOAD(taps[w]));
        save(dbias + k, TTT_LOAD(dbias) + d);
      });
}

template <class T, class S>
TTT_INLINE inline void layer_norm_gate_impl(std::int64_t heads, std::int64_t K, std::int64_t stride, const T* o,
                                            const T* weight, const T* bias, const S* gate, T eps, S* y, T* mean_out,
                                            T* rs_out) {
  const T width = static_cast<T>(heads * K);
  Sum<T> sum;
  for (std::int64_t h = 0; h < heads; ++h) {
    const T* row = o + h * stride;
    columns<T>(
        K, TTT_BODY { sum.add(TTT_LOAD(row)); });
  }
  const T mean = sum.total() / width;
  Sum<T> squares;
  for (std::int64_t h = 0; h < heads; ++h) {
    const T* row = o + h * stride;
    columns<T>(
        K, TTT_BODY {
          const auto centred = TTT_LOAD(row) - mean;
          squares.add(centred * centred);
        });
  }
  const T rs = T(1) / std::sqrt(squares.total() / width + eps);
  *mean_out = mean;
  *rs_out = rs;
  for (std::int64_t h = 0; h < heads; ++h, weight += K, bias += K, y += K) {
    const T* row = o + h * stride;
    columns<T>(
        K, TTT_BODY {
          TTT_X normed = (TTT_LOAD(row) - mean) * rs * TTT_LOAD(weight) + TTT_LOAD(bias);
          if (gate != nullptr) {
            const auto g = TTT_LOAD(gate + h * K);
            normed = normed * g * gelu_sigmoid<T>(g);
          }
          save(y + k, normed);
        });
  }
}

template <class T, class S>
TTT_INLINE inline void layer_norm_gate_backward_impl(std::int64_t heads, std::int64_t K, std::int64_t stride,
                                                     const S* dy, const T* o, const T* weight, const T* bias,
                                                     const S* gate, T mean, T rs, T* d_o, S* dgate, T* dweight,
                                                     T* dbias, T* scratch) {
  const std::int64_t D = heads * K;
  T *xh = scratch, *dxh = scratch + D;
  Sum<T> sum, dot;
  for (std::int64_t h = 0; h < heads; ++h) {
    const T* row = o + h * stride - h * K;  // column h K + i of the row is at row + h K + i
    const std::int64_t first = h * K;
    columns<T>(
        K, [&](std::int64_t i, auto tag) __attribute__((always_inline)) {
          const std::int64_t k = first + i;
          const auto normal = (TTT_LOAD(row) - mean) * rs, w = TTT_LOAD(weight);
          auto d = TTT_LOAD(dy);
          if (gate != nullptr) {
            const auto g = TTT_LOAD(gate), s = gelu_sigmoid<T>(g);
            const auto slope = s + g * s * (T(1) - s) * (kTwoK<T> * (T(1) + T(3) * kA<T> * g * g));
            save(dgate + k, TTT_X(d * (normal * w + TTT_LOAD(bias)) * slope));
            d = d * g * s;
          }
          save(dweight + k, TTT_LOAD(dweight) + d * normal);
          save(dbias + k, TTT_LOAD(dbias) + d);
          const auto dn = d * w;
          save(xh + k, normal);
          save(dxh + k, dn);
          sum.add(dn);
          dot.add(dn * normal);
        });
  }
  const T mean_d = sum.total() / static_cast<T>(D), mean_dot = dot.total() / static_cast<T>(D);
  for (std::int64_t h = 0; h < heads; ++h, xh += K, dxh += K) {
    T* out = d_o + h * stride;
    columns<T>(
        K, TTT_BODY { save(out + k, rs * (TTT_LOAD(dxh) - mean_d - TTT_LOAD(xh) * mean_dot)); });
  }
}

template <class T, class S>
TTT_INLINE inline T cross_entropy_impl(std::int64_t V, const S* x, std::int64_t target, T* log_sum) {
  T largest = load<T>(x);
  Lanes<T> top = {};
  top += largest;
  columns<T>(
      V, [&](std::int64_t k, auto tag) __attribute__((always_inline)) {
        const auto v = TTT_LOAD(x);
        if constexpr (sizeof(v) == sizeof(T)) {
          largest = std::max(largest, v);
        } else {
          top = v > top ? v : top;
        }
      });
  for (std::int64_t i = 0; i < kLanes<T>; ++i) largest = std::max<T>(largest, top[i]);
  Sum<T> sum;
  columns<T>(
      V, TTT_BODY { sum.add(exp_of(TTT_LOAD(x) - largest)); });
  *log_sum = largest + std::log(sum.total());
  return *log_sum - load<T>(x + target);
}

template <class T, class S>
TTT_INLINE inline void cross_entropy_gradient_impl(std::int64_t V, S* x, T log_sum, T g, std::int64_t target) {
  const T at_target = g * (exp_of(load<T>(x + target) - log_sum) - T(1));
  columns<T>(
      V, TTT_BODY { save(x + k, TTT_X(g * exp_of(TTT_LOAD(x) - log_sum))); });
  save(x + target, at_target);
}

}  // namespace

// target_clones takes no templates: one specialisation for each pair of types.
#define TTT_INSTANTIATE(T, S)                                                                                          \
  template <>                                                                                                          \
  TTT_CLONES void rms_norm<T, S>(std::int64_t rows, std::int64_t D, const T* x, const T* weight, T eps, S* y, T* rs) { \
    rms_norm_impl<T, S>(rows, D, x, weight, eps, y, rs);                                                               \
  }                                                                                                                    \
  template <>                                                                                                          \
  TTT_CLONES void rms_norm_backward<T, S>(std::int64_t rows, std::int64_t D, const S* dy, const T* x, const T* weight, \
                                          const T* rs, T* dx, T* dweight) {                                            \
    rms_norm_backward_impl<T, S>(rows, D, dy, x, weight, rs, dx, dweight);                                             \
  }                                                                                                                    \
  template <>                                                                                                          \
  TTT_CLONES void matrix_vector<T, S>(std::int64_t rows, std::int64_t D, const S* w, const S* x, S* y) {               \
    matrix_vector_impl<T, S>(rows, D, w, x, y);                                                                        \
  }                                                                                                                    \
  template <>                                                                                                          \
  TTT_CLONES void swiglu<T, S>(std::int64_t n, const S* gate, const S* up, S* y) {                                     \
    swiglu_impl<T, S>(n, gate, up, y);                                                                                 \
  }                                                                                                                    \
  template <>                                                                                                          \
  TTT_CLONES void swiglu_backward<T, S>(std::int64_t n, const S* dy, const S* gate, const S* up, S* dgate, S* dup) {   \
    swiglu_backward_impl<T, S>(n, dy, gate, up, dgate, dup);                                                           \
  }                                                                                                                    \
  template <>                                                                                                          \
  TTT_CLONES void conv<T, S>(std::int64_t D, const S* const* taps, const T* weight, const T* bias, S* y) {             \
    conv_impl<T, S>(D, taps, weight, bias, y);                                                                         \
  }                                                                                                                    \
  template <>                                                                                                          \
  TTT_CLONES void conv_backward<T, S>(std::int64_t D, const S* const* taps, const S* const* dy_later, const S* dy,     \
                                      const T* weight, S* dx, T* dweight, T* dbias) {                                  \
    conv_backward_impl<T, S>(D, taps, dy_later, dy, weight, dx, dweight, dbias);                                       \
  }                                                                                                                    \
  template <>                                                                                                          \
  TTT_CLONES void layer_norm_gate<T, S>(std::int64_t heads, std::int64_t K, std::int64_t stride, const T* o,           \
                                        const T* weight, const T* bias, const S* gate, T eps, S* y, T* mean, T* rs) {  \
    layer_norm_gate_impl<T, S>(heads, K, stride, o, weight, bias, gate, eps, y, mean, rs);                             \
  }                                                                                                                    \
  template <>                                                                                                          \
  TTT_CLONES void layer_norm_gate_backward<T, S>(std::int64_t heads, std::int64_t K, std::int64_t stride, const S* dy, \
                                                 const T* o, const T* weight, const T* bias, const S* gate, T mean,    \
                                                 T rs, T* d_o, S* dgate, T* dweight, T* dbias, T* scratch) {           \
    layer_norm_gate_backward_impl<T, S>(heads, K, stride, dy, o, weight, bias, gate, mean, rs, d_o, dgate, dweight,    \
                                        dbias, scratch);                                                               \
  }                                                                                                                    \
  template <>                                                                                                          \
  TTT_CLONES T cross_entropy<T, S>(std::int64_t V, const S* x, std::int64_t target, T* log_sum) {                      \
    return cross_entropy_impl<T, S>(V, x, target, log_sum);                                                            \
  }                                                                                                                    \
  template <>                                                                                                          \
  TTT_CLONES void cross_entropy_gradient<T, S>(std::int64_t V, S * x, T log_sum, T g, std::int64_t target) {           \
    cross_entropy_gradient_impl<T, S>(V, x, log_sum, g, target);                                                       \
  }
#define TTT_INSTANTIATE_ROTATE(T, From, To)                                                                            \
  template <>                                                                                                          \
  TTT_CLONES void rotate<T, From, To>(std::int64_t K, const From* x, const T* cos, const T* sin, T direction, To* y) { \
    rotate_impl<T, From, To>(K, x, cos, sin, direction, y);                                                            \
  }

TTT_INSTANTIATE(float, float)
TTT_INSTANTIATE(double, double)
TTT_INSTANTIATE(float, BFloat16)
TTT_INSTANTIATE_ROTATE(float, float, float)
TTT_INSTANTIATE_ROTATE(double, double, double)
TTT_INSTANTIATE_ROTATE(float, BFloat16, float)
TTT_INSTANTIATE_ROTATE(float, float, BFloat16)
TTT_INSTANTIATE_ROTATE(float, BFloat16, BFloat16)

}  // namespace ttt::rows
