// Products of packed bf16 blocks by AVX-512's dot product of pairs (AVX512_BF16). Included by products_bf16.h.
#pragma once

#include <immintrin.h>

namespace ttt::kernels {
namespace {

struct Engine {
  static constexpr bool kPairsOfRowTogether = false;
  struct Session {
    Session() {}
  };

  // C [rows,cols] (+)= A B over `pairs` pairs of terms; cols a multiple of 16, at most kBlockCols.
  static void multiply(std::int64_t rows, std::int64_t cols, std::int64_t pairs, PackedLeft a, const Pair* b, float* c,
                       std::int64_t c_row, bool add) {
    std::int64_t j = 0;
    for (; j + 64 <= cols; j += 64) columns<4>(rows, pairs, a, b + j, c + j, c_row, add);
    for (; j + 32 <= cols; j += 32) columns<2>(rows, pairs, a, b + j, c + j, c_row, add);
    for (; j < cols; j += 16) columns<1>(rows, pairs, a, b + j, c + j, c_row, add);
  }

 private:
  template <int kVectors>
  static void columns(std::int64_t rows, std::int64_t pairs, PackedLeft a, const Pair* b, float* c, std::int64_t c_row,
                      bool add) {
    constexpr int kRows = kVectors == 4 ? 4 : 8;
    std::int64_t i = 0;
    for (; i + kRows <= rows; i += kRows)
      tile<kRows, kVectors>(pairs, a.words + i * a.row, a, b, c + i * c_row, c_row, add);
    for (; i < rows; ++i) tile<1, kVectors>(pairs, a.words + i * a.row, a, b, c + i * c_row, c_row, add);
  }

  template <int kRows, int kVectors>
  static void tile(std::int64_t pairs, const Pair* words, PackedLeft a, const Pair* b, float* c, std::int64_t c_row,
                   bool add) {
    __m512 sum[kRows][kVectors];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j)
        sum[i][j] = add ? _mm512_loadu_ps(c + i * c_row + 16 * j) : _mm512_setzero_ps();
    }
    for (std::int64_t p = 0; p < pairs; ++p, words += a.pair, b += kBlockCols) {
      __m512i b_j[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) b_j[j] = _mm512_load_si512(b + 16 * j);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const __m512i a_i = _mm512_set1_epi32(static_cast<int>(words[i * a.row]));
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j)
          sum[i][j] = _mm512_dpbf16_ps(sum[i][j], reinterpret_cast<__m512bh>(b_j[j]), reinterpret_cast<__m512bh>(a_i));
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) _mm512_storeu_ps(c + i * c_row + 16 * j, sum[i][j]);
    }
  }
};

}  // namespace
}  // namespace ttt::kernels
