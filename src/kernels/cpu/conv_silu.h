// The short convolution of ops/causal_conv.h without bias, and silu of it, row by row: y = silu(z),
// z = sum_w weight_w taps[w]. Compiled for AVX-512, AVX2 and the baseline. T is the type of weights, sums and outputs,
// S that of the inputs in memory: <float, float>, <double, double> or <float, kernels::BFloat16>. Single-threaded.
//
// Shapes: D channels; weight [4,D]; taps[w]: the input row of the token 3 - w before.
#pragma once

#include <cstdint>

#include "kernels/bfloat16.h"

namespace ttt::rows {

template <class T, class S>
void conv_silu(std::int64_t D, const S* const* taps, const T* weight, T* y);

// dz of one token, z being computed again.
template <class T, class S>
void conv_silu_gradient(std::int64_t D, const S* const* taps, const T* weight, const T* dy, T* dz);

// dx = sum_w weight_w dz_later[w], where dz_later[w] is the row of dz of the token 3 - w later; dweight_w += dz
// taps[w].
template <class T, class S>
void conv_silu_backward(std::int64_t D, const S* const* taps, const T* const* dz_later, const T* weight, S* dx,
                        T* dweight);

}  // namespace ttt::rows
