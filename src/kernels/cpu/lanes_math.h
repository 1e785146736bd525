// Exponentials of vectors (lanes.h) and of single values, alike to the last bit for float.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/lanes.h"

namespace ttt::kernels {

// exp by 2^n p(r), r = x - n ln 2 in [-ln2/2, ln2/2], a polynomial of degree 6 (about 1 ulp). Below -87 it stays at
// exp(-87), about 1e-38; from 88.3763 on, where n is 128, it is infinite (floats end at exp(88.72)). NaN stays NaN.
// By whole numbers alone: what GCC makes of comparisons and choices of floats wider than the registers is scalar.
TTT_INLINE inline Lanes<float> exp_of(Lanes<float> x) {
  const auto words = [](const auto& from, auto to) {
    std::memcpy(&to, &from, sizeof to);
    return to;
  };
  // Of negative numbers, the larger the word the smaller the number; positive ones have smaller words than all of them.
  const WordLanes lowest = words(Lanes<float>{} - 87.0f, WordLanes()), given = words(x, WordLanes());
  const IntLanes highest = words(Lanes<float>{} + 88.5f, IntLanes());
  const IntLanes above = words(given < lowest ? given : lowest, IntLanes());
  const Lanes<float> inside = words(above < highest ? above : highest, Lanes<float>());
  const Lanes<float> scaled = inside * 1.44269504088896341f;
  const IntLanes sign = words(scaled, IntLanes()) & std::numeric_limits<std::int32_t>::min();
  const Lanes<float> half = words(sign | words(Lanes<float>{} + 0.5f, IntLanes()), Lanes<float>());
  const IntLanes n = __builtin_convertvector(scaled + half, IntLanes);
  const IntLanes nan = (0x7f800000 - (words(x, IntLanes()) & 0x7fffffff)) >> 31;  // all ones where x is NaN
  return words(words(exp_of_parts(inside, n), IntLanes()) | nan, Lanes<float>());
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
