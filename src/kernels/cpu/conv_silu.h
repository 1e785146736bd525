// The short convolution of ops/causal_conv.h without bias, and silu of it, a few tokens of one sequence at a time:
// y = silu(z), z_t = sum_w weight_w x_{t-3+w}. Compiled for AVX-512, AVX2 and the baseline. T is the type of weights,
// sums and outputs, S that of the inputs in memory: <float, float>, <double, double> or <float, kernels::BFloat16>.
// Single-threaded.
//
// Shapes: D channels; N tokens t .. t+N-1, 1 <= N <= kConvTokens; weight [4,D]; x[i]: the row of the token t - 3 + i,
// N + 3 of them.
#pragma once

#include <cstdint>

#include "kernels/bfloat16.h"

namespace ttt::rows {

// Tokens at a time: of a column's values that a token reads, the next ones read three again.
inline constexpr std::int64_t kConvTokens = 4;

// y [N,D]
template <class T, class S>
void conv_silu(std::int64_t D, std::int64_t N, const S* const* x, const T* weight, T* y);

// dz [D] of one token, x [4]; dy [D].
template <class T, class S>
void conv_silu_gradient(std::int64_t D, const S* const* x, const T* weight, const T* dy, T* dz);

// dx_t = sum_w weight_w dz_{t+3-w} [N,D]; dweight_w += sum_t dz_t x_{t-3+w} [4,D]; dy [N,D]. later [3,D]: dz of the
// three tokens behind these, replaced by dz of the first three from t on. z is computed again.
template <class T, class S>
void conv_silu_backward(std::int64_t D, std::int64_t N, const S* const* x, const T* weight, const T* dy, T* later,
                        S* dx, T* dweight);

}  // namespace ttt::rows
