// The exponential function in fp32 on vectors of any width: Cephes' expf.
#pragma once

#include <cstring>

#include "kernels/cpu/lanes.h"

namespace ttt::kernels {

// exp(x) = 2^n exp(x - n ln 2), for a whole n near x / ln 2: n in [-126, 127], or 128, which gives infinity.
template <class Floats, class Ints>
TTT_INLINE inline Floats exp_of_parts(Floats x, Ints n) {
  const Floats whole = __builtin_convertvector(n, Floats);
  const Floats r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Ints bits = (n + 127) << 23;
  Floats power;
  std::memcpy(&power, &bits, sizeof(power));
  return p * power;
}

}  // namespace ttt::kernels
