// The small ops' loops over contiguous rows on the CPU: one pass over memory each, compiled for AVX-512, AVX2 and the
// baseline, instantiated for float and double. Single-threaded on a range of rows; the ops split the rows.
//
// The equations are those of the ops (rms_norm.h, rope.h, ...). Row r of x starts at x + r * D. Outputs are
// overwritten; sums over rows (dweight, dbias) are accumulated.
#pragma once

#include <cstdint>

namespace ttt::rows {

// y = x * rs * weight, rs[r] = 1 / sqrt(mean(x^2) + eps).
template <class T>
void rms_norm(std::int64_t rows, std::int64_t D, const T* x, const T* weight, T eps, T* y, T* rs);
// dx = rs (dy weight - xh mean(dy weight xh)), xh = x rs;   dweight += dy xh.
template <class T>
void rms_norm_backward(std::int64_t rows, std::int64_t D, const T* dy, const T* x, const T* weight, const T* rs, T* dx,
                       T* dweight);

// y = silu(gate) up of n elements; dgate, dup.
template <class T>
void swiglu(std::int64_t n, const T* gate, const T* up, T* y);
template <class T>
void swiglu_backward(std::int64_t n, const T* dy, const T* gate, const T* up, T* dgate, T* dup);

// Rotates one head of one token, K values: y = x cos + swap(x) sin, where swap exchanges the two of each pair and sin
// carries the signs (-, +); direction -1 rotates back.
template <class T>
void rotate(std::int64_t K, const T* x, const T* cos, const T* sin, T direction, T* y);

// One token of the convolution: y = bias + sum_w weight_w taps[w]; weight [W,D], W = 4; taps[w] are rows.
template <class T>
void conv(std::int64_t D, const T* const* taps, const T* weight, const T* bias, T* y);
// dx = sum_w weight_w dy_later[w], where dy_later[w] is the row of dy of the token W-1-w later; dweight_w += dy
// taps[w], dbias += dy.
template <class T>
void conv_backward(std::int64_t D, const T* const* taps, const T* const* dy_later, const T* dy, const T* weight, T* dx,
                   T* dweight, T* dbias);

// One token between the TTT op and the output projection. The row is spread over `heads` pieces of K values, `stride`
// apart. gate may be null. mean and rs: one value each.
template <class T>
void layer_norm_gate(std::int64_t heads, std::int64_t K, std::int64_t stride, const T* o, const T* weight,
                     const T* bias, const T* gate, T eps, T* y, T* mean, T* rs);
// do at the places of o; dgate (null without gate) overwritten; scratch: 2 * heads * K values.
template <class T>
void layer_norm_gate_backward(std::int64_t heads, std::int64_t K, std::int64_t stride, const T* dy, const T* o,
                              const T* weight, const T* bias, const T* gate, T mean, T rs, T* d_o, T* dgate, T* dweight,
                              T* dbias, T* scratch);

// log(sum_v exp(x_v)) of one row of V values.
template <class T>
T log_sum_exp(std::int64_t V, const T* x);
// x_v = g exp(x_v - log_sum), in place.
template <class T>
void scaled_softmax(std::int64_t V, T* x, T log_sum, T g);

}  // namespace ttt::rows
