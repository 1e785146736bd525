// Triangular systems for the passes of gated_delta_fused_impl.h.
//
// x_row and the like: values between two rows.
#pragma once

#include <cstdint>

#include "kernels/cpu/products_fp32.h"

namespace ttt::kernels {
namespace {

// n, as a number that the compiler does not know: with a known number of rows it warns of iterations that a product's
// loops never reach.
TTT_INLINE inline std::int64_t opaque(std::int64_t n) {
  asm("" : "+r"(n));
  return n;
}

// x [rows,cols] = (I + A)^-1 x, or (I + A)^-T x, A [rows,rows] strictly lower: by substitution inside a block of rows
// whose values stay in registers, by products from block to block. rows and cols multiples of 16.
constexpr int kSolveRows = TTT_REGISTER_BYTES == 64 ? 16 : 8;

inline void solve_block(const float* a, std::int64_t a_row, std::int64_t cols, float* x, std::int64_t x_row) {
  for (std::int64_t j = 0; j < cols; j += kRegister) {
    Register row[kSolveRows];
#pragma GCC unroll 16
    for (int i = 0; i < kSolveRows; ++i) row[i] = load<Register>(x + i * x_row + j);
#pragma GCC unroll 16
    for (int l = 0; l + 1 < kSolveRows; ++l) {
#pragma GCC unroll 16
      for (int i = l + 1; i < kSolveRows; ++i) row[i] -= (a[i * a_row + l] - Register{}) * row[l];
    }
#pragma GCC unroll 16
    for (int i = 1; i < kSolveRows; ++i) save(x + i * x_row + j, row[i]);
  }
}
inline void solve_transposed_block(const float* a, std::int64_t a_row, std::int64_t cols, float* x,
                                   std::int64_t x_row) {
  for (std::int64_t j = 0; j < cols; j += kRegister) {
    Register row[kSolveRows];
#pragma GCC unroll 16
    for (int i = 0; i < kSolveRows; ++i) row[i] = load<Register>(x + i * x_row + j);
#pragma GCC unroll 16
    for (int l = kSolveRows - 1; l > 0; --l) {
#pragma GCC unroll 16
      for (int i = 0; i < l; ++i) row[i] -= (a[l * a_row + i] - Register{}) * row[l];
    }
#pragma GCC unroll 16
    for (int i = 0; i + 1 < kSolveRows; ++i) save(x + i * x_row + j, row[i]);
  }
}

inline void solve(const float* a, std::int64_t a_row, std::int64_t rows, std::int64_t cols, float* x,
                  std::int64_t x_row) {
  for (std::int64_t i = 0; i < rows; i += kSolveRows) {
    float* const x_i = x + i * x_row;
    if (i > 0) product<Store::kSubtract>(opaque(kSolveRows), cols, i, {a + i * a_row, a_row, 1}, x, x_row, x_i, x_row);
    solve_block(a + i * a_row + i, a_row, cols, x_i, x_row);
  }
}
inline void solve_transposed(const float* a, std::int64_t a_row, std::int64_t rows, std::int64_t cols, float* x,
                             std::int64_t x_row) {
  for (std::int64_t i = rows - kSolveRows; i >= 0; i -= kSolveRows) {
    const std::int64_t below = i + kSolveRows;
    float* const x_i = x + i * x_row;
    if (below < rows)
      product<Store::kSubtract>(opaque(kSolveRows), cols, rows - below, {a + below * a_row + i, 1, a_row},
                                x + below * x_row, x_row, x_i, x_row);
    solve_transposed_block(a + i * a_row + i, a_row, cols, x_i, x_row);
  }
}

// The lower blocks of X Y^T, from y_t = Y^T: out [rows,rows], blocks of 16 on and below the diagonal.
inline void lower_product(std::int64_t rows, std::int64_t terms, const float* x, std::int64_t x_row, const float* y_t,
                          std::int64_t y_row, float* out, std::int64_t out_row) {
  for (std::int64_t i = 0; i < rows; i += 16)
    product(opaque(16), i + 16, terms, {x + i * x_row, x_row, 1}, y_t, y_row, out + i * out_row, out_row);
}

}  // namespace
}  // namespace ttt::kernels
