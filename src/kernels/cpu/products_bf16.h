// Small matrix products with operands rounded to bf16 and fp32 sums: what products_fp32.h offers, two to sixteen times
// as fast. Included by the ttt_fused_*.cpp files of instruction sets that have such products; TTT_BF16_PRODUCTS names
// the engine that multiplies packed blocks (bf16_dot.h, bf16_tiles.h).
//
// Operands are packed block by block: a 32-bit word, a Pair, holds two consecutive terms, the even one in its lower
// half, as the instructions want them. Packing takes a number of operations like the operands' sizes, the product one
// like these times 64. Every sum runs over its terms in an order that depends on the sizes alone: the same numbers on
// every run.
#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "kernels/cpu/products.h"

namespace ttt::kernels {
namespace {

typedef std::uint32_t Pair;
constexpr std::int64_t kBlockRows = 128, kBlockCols = 64, kBlockTerms = 64, kBlockPairs = kBlockTerms / 2;

// A block of A: the word of row i and pair p is words[i * row + p * pair]. The words of whole groups of 16 rows (and,
// where rows of pairs lie together, of 16 pairs) are there; beyond the block's terms they are zero.
struct PackedLeft {
  const Pair* words;
  std::int64_t row, pair;
};

}  // namespace
}  // namespace ttt::kernels

#include TTT_BF16_PRODUCTS

namespace ttt::kernels {
namespace {

// B(l,j) = data[l * term + j * col]: a matrix (col 1) or a transposed one (term 1).
struct Right {
  const float* data;
  std::int64_t term, col;
};

TTT_INLINE inline void save_pairs(Pair* out, const WordLanes& words) {
  save(out, words);
}

// Of two rows of 16 values: the words (even, odd), side by side.
TTT_INLINE inline WordLanes pairs_of_rows(Lanes<float> even, Lanes<float> odd) {
#if defined(__AVX512BF16__)
  typedef std::uint16_t Halves __attribute__((vector_size(64)));
  const __m512bh both = _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(odd), reinterpret_cast<__m512>(even));
  const Halves order = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  WordLanes words;
  const __m512i halves = _mm512_permutexvar_epi16(reinterpret_cast<__m512i>(order), reinterpret_cast<__m512i>(both));
  std::memcpy(&words, &halves, sizeof words);
  return words;
#else
  BFloat16 halves[32];
  save(halves, even), save(halves + 16, odd);
  const WordLanes low = __builtin_convertvector(load<HalfLanes>(&halves[0].bits), WordLanes),
                  high = __builtin_convertvector(load<HalfLanes>(&halves[16].bits), WordLanes);
  return low | high << 16;
#endif
}

// Of a row of 32 values, or of 16 and zeros: its 16 words.
TTT_INLINE inline WordLanes pairs_of_row(const float* row, bool whole) {
  const Lanes<float> first = load<Lanes<float>>(row), second = whole ? load<Lanes<float>>(row + 16) : Lanes<float>{};
  WordLanes words;
#if defined(__AVX512BF16__)
  const __m512bh both = _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second), reinterpret_cast<__m512>(first));
  std::memcpy(&words, &both, sizeof words);
#else
  BFloat16 halves[32];
  save(halves, first), save(halves + 16, second);
  std::memcpy(&words, halves, sizeof words);
#endif
  return words;
}

// 16 x 16 words, rows to columns.
TTT_INLINE inline void transpose_pairs(const Pair* in, std::int64_t in_row, Pair* out, std::int64_t out_row) {
  // As numbers they are only moved.
  transpose(16, 16, reinterpret_cast<const float*>(in), in_row, reinterpret_cast<float*>(out), out_row);
}

// Terms [begin, begin + terms) of rows [first, first + rows) of A, negated where asked.
template <bool kNegate>
inline PackedLeft pack_left(Left a, std::int64_t first, std::int64_t rows, std::int64_t begin, std::int64_t terms,
                            Pair* out) {
  const WordLanes sign = WordLanes{} + (kNegate ? 0x80008000u : 0u);
  const float* data = a.data + first * a.row + begin * a.term;
  if (a.term == 1) {
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t l = 0; l < terms; l += 32)
        save_pairs(out + i * kBlockPairs + l / 2, pairs_of_row(data + i * a.row + l, l + 16 < terms) ^ sign);
    }
    return {out, kBlockPairs, 1};
  }
  const auto column_of_pairs = [&](std::int64_t l, std::int64_t i) {
    const Lanes<float> even = load<Lanes<float>>(data + l * a.term + i);
    return pairs_of_rows(even, l + 1 < terms ? load<Lanes<float>>(data + (l + 1) * a.term + i) : Lanes<float>{}) ^ sign;
  };
  if (!Engine::kPairsOfRowTogether) {
    for (std::int64_t l = 0; l < terms; l += 2) {
      for (std::int64_t i = 0; i < rows; i += 16) save_pairs(out + l / 2 * kBlockRows + i, column_of_pairs(l, i));
    }
    return {out, 1, kBlockRows};
  }
  for (std::int64_t i = 0; i < rows; i += 16) {
    for (std::int64_t l = 0; l < terms; l += 32) {
      alignas(64) Pair square[16 * 16];
      for (std::int64_t p = 0; p < 16; ++p)
        save_pairs(square + 16 * p, l + 2 * p < terms ? column_of_pairs(l + 2 * p, i) : WordLanes{});
      transpose_pairs(square, 16, out + i * kBlockPairs + l / 2, kBlockPairs);
    }
  }
  return {out, kBlockPairs, 1};
}

// Terms [begin, begin + terms) of columns [first, first + cols) of B: the word of pair p and column j at out[p *
// kBlockCols + j], zeros up to a multiple of 16 pairs.
inline void pack_right(Right b, std::int64_t first, std::int64_t cols, std::int64_t begin, std::int64_t terms,
                       Pair* out) {
  const float* data = b.data + begin * b.term + first * b.col;
  for (std::int64_t l = 0; l < terms; l += 32) {
    for (std::int64_t j = 0; j < cols; j += 16) {
      Pair* const words = out + l / 2 * kBlockCols + j;
      if (b.col == 1) {
        const auto row = [&](std::int64_t term) {
          return term < terms ? load<Lanes<float>>(data + term * b.term + j) : Lanes<float>{};
        };
        for (std::int64_t p = 0; p < 16; ++p)
          save_pairs(words + p * kBlockCols, pairs_of_rows(row(l + 2 * p), row(l + 2 * p + 1)));
      } else {
        alignas(64) Pair square[16 * 16];
        for (std::int64_t i = 0; i < 16; ++i)
          save_pairs(square + 16 * i, pairs_of_row(data + (j + i) * b.col + l, l + 16 < terms));
        transpose_pairs(square, 16, words, kBlockCols);
      }
    }
  }
}

// C [rows,cols] = (+=, -=) A B; cols a multiple of 16.
template <Store kStore>
void packed_product(std::int64_t rows, std::int64_t cols, std::int64_t terms, Left a, Right b, float* c,
                    std::int64_t c_row) {
  alignas(64) Pair left[kBlockRows * kBlockPairs], right[kBlockPairs * kBlockCols];
  const auto at_most = [](std::int64_t most, std::int64_t x) { return x < most ? x : most; };
  for (std::int64_t l = 0; l < terms; l += kBlockTerms) {
    const std::int64_t block_terms = at_most(kBlockTerms, terms - l);
    const bool add = kStore != Store::kSet || l > 0;
    for (std::int64_t i = 0; i < rows; i += kBlockRows) {
      const std::int64_t block_rows = at_most(kBlockRows, rows - i);
      const PackedLeft packed = pack_left<kStore == Store::kSubtract>(a, i, block_rows, l, block_terms, left);
      for (std::int64_t j = 0; j < cols; j += kBlockCols) {
        const std::int64_t block_cols = at_most(kBlockCols, cols - j);
        pack_right(b, j, block_cols, l, block_terms, right);
        Engine::multiply(block_rows, block_cols, (block_terms + 1) / 2, packed, right, c + i * c_row + j, c_row, add);
      }
    }
  }
}

// C [rows,cols] = (+=, -=) A B [terms,cols]; cols a multiple of 16. All terms are taken: A is zero where Terms would
// leave some out.
template <Store kStore = Store::kSet, Terms = Terms::kAll>
void product(std::int64_t rows, std::int64_t cols, std::int64_t terms, Left a, const float* b, std::int64_t b_row,
             float* c, std::int64_t c_row) {
  packed_product<kStore>(rows, cols, terms, a, {b, b_row, 1}, c, c_row);
}

// out [rows,N] = X W^T, from x_t = X^T [terms, rows rounded up to 16] and W [N,terms]; w_row, out_row: from row to row.
inline void product_transposed(std::int64_t rows, std::int64_t cols, std::int64_t terms, const float* x_t,
                               const float* w, std::int64_t w_row, float* out, std::int64_t out_row, float*) {
  packed_product<Store::kSet>(rows, cols, terms, {x_t, 1, (rows + 15) / 16 * 16}, {w, 1, w_row}, out, out_row);
}

// What must be in force on a thread while products run.
using ProductSession = Engine::Session;

}  // namespace
}  // namespace ttt::kernels
