// Exponentials of vectors (lanes.h) and of single values, alike to the last bit for float.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/lanes.h"

namespace ttt::kernels {

// exp by 2^n p(r), r = x - n ln 2 in [-ln2/2, ln2/2], a polynomial of degree 6 (about 1 ulp). Below -87 it stays at
// exp(-87), about 1e-38; above 88.37, where n would be 128, it is infinite (floats end at exp(88.72)). NaN stays NaN.
TTT_INLINE inline Lanes<float> exp_of(Lanes<float> x) {
  const Lanes<float> zeros = {};
  const auto overflow = x > 88.37f;
  x = x < -87.0f ? zeros - 87.0f : x;
  x = overflow ? zeros + 88.0f : x;
  const Lanes<float> scaled = x * 1.44269504088896341f;
  const IntLanes n = __builtin_convertvector(scaled + (scaled < 0.0f ? zeros - 0.5f : zeros + 0.5f), IntLanes);
  return overflow ? zeros + std::numeric_limits<float>::infinity() : exp_of_parts(x, n);
}
TTT_INLINE inline Lanes<double> exp_of(Lanes<double> x) {
  for (std::int64_t i = 0; i < kLanes<double>; ++i) x[i] = std::exp(x[i]);
  return x;
}
TTT_INLINE inline float exp_of(float x) {
  Lanes<float> lanes = {};
  lanes += x;
  return exp_of(lanes)[0];
}
TTT_INLINE inline double exp_of(double x) {
  return std::exp(x);
}

template <class T, class X>
TTT_INLINE inline X sigmoid(X x) {
  return T(1) / (T(1) + exp_of(-x));
}

}  // namespace ttt::kernels
