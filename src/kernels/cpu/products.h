// What the small matrix products of the fused passes have in common, whatever computes them: products_fp32.h,
// products_bf16.h. For matrices that lie in a core's caches; row-major unless a type says otherwise.
#pragma once

#include <cstdint>

#include "kernels/cpu/lanes.h"

namespace ttt::kernels {
namespace {

// What becomes of C.
enum class Store { kSet, kAdd, kSubtract };

// Which terms l of row i of C there are: all; those up to the diagonal (l <= i), where A is known to be zero beyond;
// those from it (l >= i).
enum class Terms { kAll, kUpToRow, kFromRow };

// A(i,l) = data[i * row + l * term]: a matrix (term 1) or a transposed one (row 1).
struct Left {
  const float* data;
  std::int64_t row, term;
};

// The low and the high halves of two vectors, interleaved.
TTT_INLINE inline Lanes<float> interleave_low(Lanes<float> x, Lanes<float> y) {
  return __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
TTT_INLINE inline Lanes<float> interleave_high(Lanes<float> x, Lanes<float> y) {
  return __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// out [cols, rows rounded up to 16] = in^T, zeros in the columns that `in` has no rows for; cols a multiple of 16.
// Four perfect shuffles of 16 x 16 values rotate the 8 bits of their places by 4: rows become columns.
inline void transpose(std::int64_t rows, std::int64_t cols, const float* in, std::int64_t in_row, float* out,
                      std::int64_t out_row) {
  for (std::int64_t i = 0; i < rows; i += 16) {
    for (std::int64_t j = 0; j < cols; j += 16) {
      Lanes<float> x[16], y[16];
#pragma GCC unroll 16
      for (int l = 0; l < 16; ++l) x[l] = i + l < rows ? load<Lanes<float>>(in + (i + l) * in_row + j) : Lanes<float>{};
#pragma GCC unroll 2
      for (int pass = 0; pass < 2; ++pass) {
#pragma GCC unroll 8
        for (int l = 0; l < 8; ++l)
          y[2 * l] = interleave_low(x[l], x[l + 8]), y[2 * l + 1] = interleave_high(x[l], x[l + 8]);
#pragma GCC unroll 8
        for (int l = 0; l < 8; ++l)
          x[2 * l] = interleave_low(y[l], y[l + 8]), x[2 * l + 1] = interleave_high(y[l], y[l + 8]);
      }
#pragma GCC unroll 16
      for (int l = 0; l < 16; ++l) save(out + (j + l) * out_row + i, x[l]);
    }
  }
}

}  // namespace
}  // namespace ttt::kernels
