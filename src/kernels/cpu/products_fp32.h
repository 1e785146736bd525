// Small matrix products in register tiles, fp32. Compiled once per instruction set by the files that include it
// (ttt_fused_*.cpp), which say how wide a register is: TTT_REGISTER_BYTES.
//
// Every sum runs over its terms in order: the same numbers on every run.
#pragma once

#include "kernels/cpu/products.h"

namespace ttt::kernels {
namespace {

typedef float Register __attribute__((vector_size(TTT_REGISTER_BYTES)));
constexpr std::int64_t kRegister = TTT_REGISTER_BYTES / 4;  // floats
// A tile of C: 4 x 4, 8 x 2 or 16 x 1 registers of sums where there are 32 of them, half of that where there are 16.
constexpr int kTileRegisters = TTT_REGISTER_BYTES == 64 ? 4 : 2;
constexpr int kTileSums = 4 * kTileRegisters;
constexpr std::int64_t kPanel = 64;  // terms at a time, so that B's panel stays in L1

// A tile of C (+)= A B over the terms [begin, end). b, c: the tile's first column.
template <int kRows, int kRegisters, Store kStore>
inline void product_tile(Left a, const float* b, std::int64_t b_row, float* c, std::int64_t c_row, std::int64_t begin,
                         std::int64_t end) {
  Register sum[kRows][kRegisters] = {};
  const float* a_l = a.data + begin * a.term;
  const float* b_l = b + begin * b_row;
  for (std::int64_t l = begin; l < end; ++l, a_l += a.term, b_l += b_row) {
    Register b_j[kRegisters];
#pragma GCC unroll 8
    for (int j = 0; j < kRegisters; ++j) b_j[j] = load<Register>(b_l + j * kRegister);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Register a_i = a_l[i * a.row] - Register{};
#pragma GCC unroll 8
      for (int j = 0; j < kRegisters; ++j) sum[i][j] += a_i * b_j[j];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kRegisters; ++j) {
      float* c_ij = c + i * c_row + j * kRegister;
      if (kStore == Store::kSet) save(c_ij, sum[i][j]);
      if (kStore == Store::kAdd) save(c_ij, Register(load<Register>(c_ij) + sum[i][j]));
      if (kStore == Store::kSubtract) save(c_ij, Register(load<Register>(c_ij) - sum[i][j]));
    }
  }
}

template <int kRegisters, Store kStore, Terms kTerms>
inline void product_columns(std::int64_t rows, std::int64_t begin, std::int64_t end, Left a, const float* b,
                            std::int64_t b_row, float* c, std::int64_t c_row) {
  std::int64_t i = 0;
  const auto tile = [&](auto rows_tag) TTT_INLINE {
    constexpr int kRows = decltype(rows_tag)::kValue;
    std::int64_t first = begin, last = end;
    if (kTerms == Terms::kUpToRow && last > i + kRows) last = i + kRows;
    if (kTerms == Terms::kFromRow && first < i) first = i;
    product_tile<kRows, kRegisters, kStore>({a.data + i * a.row, a.row, a.term}, b, b_row, c + i * c_row, c_row, first,
                                            last);
    i += kRows;
  };
  constexpr int kTileRows = kTileSums / kRegisters;
  while (i + kTileRows <= rows) tile(Count<kTileRows>());
  while (kTileRows > 4 && i + 4 <= rows) tile(Count<4>());
  while (i < rows) tile(Count<1>());
}

template <Store kStore, Terms kTerms>
inline void product_panel(std::int64_t rows, std::int64_t cols, std::int64_t begin, std::int64_t end, Left a,
                          const float* b, std::int64_t b_row, float* c, std::int64_t c_row) {
  std::int64_t j = 0;
  for (; j + kTileRegisters * kRegister <= cols; j += kTileRegisters * kRegister)
    product_columns<kTileRegisters, kStore, kTerms>(rows, begin, end, a, b + j, b_row, c + j, c_row);
  if (kTileRegisters > 2 && j + 2 * kRegister <= cols) {
    product_columns<2, kStore, kTerms>(rows, begin, end, a, b + j, b_row, c + j, c_row);
    j += 2 * kRegister;
  }
  for (; j < cols; j += kRegister) product_columns<1, kStore, kTerms>(rows, begin, end, a, b + j, b_row, c + j, c_row);
}

// C [rows,cols] = (+=, -=) A [rows,terms] B [terms,cols]; cols a multiple of 16.
template <Store kStore = Store::kSet, Terms kTerms = Terms::kAll>
void product(std::int64_t rows, std::int64_t cols, std::int64_t terms, Left a, const float* b, std::int64_t b_row,
             float* c, std::int64_t c_row) {
  constexpr Store kMore = kStore == Store::kSet ? Store::kAdd : kStore;
  std::int64_t end = terms < kPanel ? terms : kPanel;
  product_panel<kStore, kTerms>(rows, cols, 0, end, a, b, b_row, c, c_row);
  for (std::int64_t begin = end; begin < terms; begin = end) {
    end = begin + kPanel < terms ? begin + kPanel : terms;
    product_panel<kMore, kTerms>(rows, cols, begin, end, a, b, b_row, c, c_row);
  }
}

// out [rows,N] = X W^T, from x_t = X^T [terms, rows rounded up to 16] and W [N,terms]; scratch: 2 N (rows rounded up).
// W's rows take the tiles' rows: only the small matrices are transposed. w_row, out_row: from row to row.
inline void product_transposed(std::int64_t rows, std::int64_t cols, std::int64_t terms, const float* x_t,
                               const float* w, std::int64_t w_row, float* out, std::int64_t out_row, float* scratch) {
  const std::int64_t padded = (rows + 15) / 16 * 16;
  product(cols, padded, terms, {w, w_row, 1}, x_t, padded, scratch, padded);
  if (padded == rows) return transpose(cols, padded, scratch, padded, out, out_row);
  float* const whole = scratch + cols * padded;
  transpose(cols, padded, scratch, padded, whole, cols);
  for (std::int64_t c = 0; c < rows; ++c) {
    for (std::int64_t k = 0; k < cols; k += 16) save(out + c * out_row + k, load<Lanes<float>>(whole + c * cols + k));
  }
}

// What must be in force on a thread while products run: nothing.
struct ProductSession {
  ProductSession() {}
};

}  // namespace
}  // namespace ttt::kernels
