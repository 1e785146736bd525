// Steps on whole registers for the passes of gated_delta_fused_impl.h, as wide as TTT_REGISTER_BYTES says
// (products_fp32.h): sums of rows, transposing, decays.
#pragma once

#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "kernels/cpu/exp.h"
#include "kernels/cpu/products_fp32.h"

namespace ttt::kernels {
namespace {

// The passes' own steps work on registers, not on the sixteen values of Lanes: what GCC makes of shuffles and choices
// of vectors wider than the registers is scalar.
typedef std::int32_t IntRegister __attribute__((vector_size(TTT_REGISTER_BYTES)));

TTT_INLINE inline Register values_at(const float* p) {
  return load<Register>(p);
}

// The low and the high halves of two registers, interleaved.
#if TTT_REGISTER_BYTES == 64
TTT_INLINE inline Register low_halves(Register x, Register y) {
  return interleave_low(x, y);
}
TTT_INLINE inline Register high_halves(Register x, Register y) {
  return interleave_high(x, y);
}
#elif TTT_REGISTER_BYTES == 32
TTT_INLINE inline Register low_halves(Register x, Register y) {
  return __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11);
}
TTT_INLINE inline Register high_halves(Register x, Register y) {
  return __builtin_shufflevector(x, y, 4, 12, 5, 13, 6, 14, 7, 15);
}
#else
TTT_INLINE inline Register low_halves(Register x, Register y) {
  return __builtin_shufflevector(x, y, 0, 4, 1, 5);
}
TTT_INLINE inline Register high_halves(Register x, Register y) {
  return __builtin_shufflevector(x, y, 2, 6, 3, 7);
}
#endif

// The sum of each of as many registers as one has values. x is overwritten.
TTT_INLINE inline Register register_sums(Register (&x)[kRegister]) {
#pragma GCC unroll 4
  for (int half = kRegister / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) x[i] = low_halves(x[i], x[i + half]) + high_halves(x[i], x[i + half]);
  }
  return x[0];
}
// body(row, column) adds up a row's terms: the sums of `rows` (at most kRegister) rows, zero for the others.
template <class Body>
TTT_INLINE inline Register sums_of_rows(std::int64_t rows, std::int64_t cols, const Body& body) {
  Register sums[kRegister];
  for (std::int64_t i = 0; i < kRegister; ++i) {
    Register sum = {};
    if (i < rows) {
      for (std::int64_t k = 0; k < cols; k += kRegister) sum += body(i, k);
    }
    sums[i] = sum;
  }
  return register_sums(sums);
}
TTT_INLINE inline float register_sum(Register x) {
  float sum = 0;
  for (int i = 0; i < kRegister; ++i) sum += x[i];
  return sum;
}

// out [cols,rows] = in^T; rows and cols multiples of 16. Perfect shuffles, see transpose() in products.h.
inline void transpose_rows(std::int64_t rows, std::int64_t cols, const float* in, std::int64_t in_row, float* out,
                           std::int64_t out_row) {
  for (std::int64_t i = 0; i < rows; i += kRegister) {
    for (std::int64_t j = 0; j < cols; j += kRegister) {
      Register x[kRegister], y[kRegister];
#pragma GCC unroll 16
      for (int l = 0; l < kRegister; ++l) x[l] = values_at(in + (i + l) * in_row + j);
#pragma GCC unroll 4
      for (int pass = 1; pass < kRegister; pass *= 2) {
#pragma GCC unroll 8
        for (int l = 0; l < kRegister / 2; ++l) {
          y[2 * l] = low_halves(x[l], x[l + kRegister / 2]);
          y[2 * l + 1] = high_halves(x[l], x[l + kRegister / 2]);
        }
#pragma GCC unroll 16
        for (int l = 0; l < kRegister; ++l) x[l] = y[l];
      }
#pragma GCC unroll 16
      for (int l = 0; l < kRegister; ++l) save(out + (j + l) * out_row + i, x[l]);
    }
  }
}

// exp(x) for x <= 0, as exp_of() in lanes_math.h; nothing remains of what has decayed by exp(-87).
TTT_INLINE inline Register decay(Register x) {
  const Register zeros = {};
  const auto gone = x < -87.0f;
  x = gone ? zeros : x;
  const IntRegister n = __builtin_convertvector(x * 1.44269504088896341f - 0.5f, IntRegister);
  return gone ? zeros : exp_of_parts(x, n);
}

// While it lives, results too small for normal numbers are zero. States of heads that decay fast are full of such, and
// they take the processor a hundred times as long.
class FlushSubnormals {
 public:
#if defined(__SSE__)
  FlushSubnormals() : before_(_mm_getcsr()) {
    _mm_setcsr(before_ | 0x8040);
  }  // flush to zero, denormals are zero
  ~FlushSubnormals() {
    _mm_setcsr(before_);
  }

 private:
  unsigned before_;
#else
  FlushSubnormals() {}
#endif
};

}  // namespace
}  // namespace ttt::kernels
