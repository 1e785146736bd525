// Functions of one value, in fp32.
#pragma once

#include "kernels/cuda/warp.h"

namespace ttt::kernels::cuda {

// 1 / (1 + e^-x)
TTT_DEVICE float sigmoid(float x) {
  return reciprocal(1 + exponential(-x));
}

// The tanh form of GELU and its derivatives, by s = (1 + tanh u) / 2 = sigmoid(2u), u = sqrt(2/pi) (x + a x^3):
// phi = x s,  phi' = s + x s',  phi'' = 2 s' + x s'',  s' = s (1 - s) 2u',  s'' = s (1 - s) (2u'' + (1 - 2s) (2u')^2).
struct GeluTanh {
  static constexpr float kTwoRoot = 1.5957691216057308f, kA = 0.044715f;  // 2 sqrt(2/pi), a
  float x, s;

  TTT_DEVICE explicit GeluTanh(float at) : x(at), s(sigmoid(kTwoRoot * (at + kA * at * at * at))) {}
  TTT_DEVICE float value() const { return x * s; }
  TTT_DEVICE float slope() const { return s + x * s * (1 - s) * exponent_slope(); }
  TTT_DEVICE float curvature() const {
    const float first = exponent_slope(), second = 6 * kTwoRoot * kA * x;
    return s * (1 - s) * (2 * first + x * (second + (1 - 2 * s) * first * first));
  }

 private:
  TTT_DEVICE float exponent_slope() const { return kTwoRoot * (1 + 3 * kA * x * x); }  // 2u'
};

}  // namespace ttt::kernels::cuda
