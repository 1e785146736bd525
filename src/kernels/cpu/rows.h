// The small ops' loops over contiguous rows on the CPU: one pass over memory each, compiled for AVX-512, AVX2 and the
// baseline. Single-threaded on a range of rows; the ops split the rows. T is the type of weights, statistics and sums,
// S that of the activations in memory: <float, float>, <double, double> or <float, kernels::BFloat16>.
//
// The equations are those of the ops (rms_norm.h, rope.h, ...). Row r of x starts at x + r * D. Outputs are
// overwritten; sums over rows (dweight, dbias) are accumulated.
#pragma once

#include <cstdint>

#include "kernels/bfloat16.h"

namespace ttt::rows {

// y = x * rs * weight, rs[r] = 1 / sqrt(mean(x^2) + eps).
template <class T, class S>
void rms_norm(std::int64_t rows, std::int64_t D, const T* x, const T* weight, T eps, S* y, T* rs);
// dx = rs (dy weight - xh mean(dy weight xh)), xh = x rs;   dweight += dy xh.
template <class T, class S>
void rms_norm_backward(std::int64_t rows, std::int64_t D, const S* dy, const T* x, const T* weight, const T* rs, T* dx,
                       T* dweight);

// y_r = w_r . x for rows w_r of a matrix [rows,D]: memory is what bounds it.
template <class T, class S>
void matrix_vector(std::int64_t rows, std::int64_t D, const S* w, const S* x, S* y);

// y = silu(gate) up of n elements; dgate, dup.
template <class T, class S>
void swiglu(std::int64_t n, const S* gate, const S* up, S* y);
template <class T, class S>
void swiglu_backward(std::int64_t n, const S* dy, const S* gate, const S* up, S* dgate, S* dup);

// Rotates one head of one token, K values: y = x cos + swap(x) sin, where swap exchanges the two of each pair and sin
// carries the signs (-, +); direction -1 rotates back. From and To: T or S.
template <class T, class From, class To>
void rotate(std::int64_t K, const From* x, const T* cos, const T* sin, T direction, To* y);

// One token of the convolution: y = bias + sum_w weight_w taps[w]; weight [W,D], W = 4; taps[w] are rows.
template <class T, class S>
void conv(std::int64_t D, const S* const* taps, const T* weight, const T* bias, S* y);
// dx = sum_w weight_w dy_later[w], where dy_later[w] is the row of dy of the token W-1-w later; dweight_w += dy
// taps[w], dbias += dy.
template <class T, class S>
void conv_backward(std::int64_t D, const S* const* taps, const S* const* dy_later, const S* dy, const T* weight, S* dx,
                   T* dweight, T* dbias);

// One token between the TTT op and the output projection. The row is spread over `heads` pieces of K values, `stride`
// apart. gate may be null. mean and rs: one value each.
template <class T, class S>
void layer_norm_gate(std::int64_t heads, std::int64_t K, std::int64_t stride, const T* o, const T* weight,
                     const T* bias, const S* gate, T eps, S* y, T* mean, T* rs);
// do at the places of o; dgate (null without gate) overwritten; scratch: 2 * heads * K values.
template <class T, class S>
void layer_norm_gate_backward(std::int64_t heads, std::int64_t K, std::int64_t stride, const S* dy, const T* o,
                              const T* weight, const T* bias, const S* gate, T mean, T rs, T* d_o, S* dgate, T* dweight,
                              T* dbias, T* scratch);

// One row of V logits: log_sum = log(sum_v exp(x_v)); returns log_sum - x_target.
template <class T, class S>
T cross_entropy(std::int64_t V, const S* x, std::int64_t target, T* log_sum);
// x_v = g (exp(x_v - log_sum) - [v = target]), in place.
template <class T, class S>
void cross_entropy_gradient(std::int64_t V, S* x, T log_sum, T g, std::int64_t target);

}  // namespace ttt::rows
