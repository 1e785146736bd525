// Operands of products in tiles: fragments, tiles of 16 tokens in shared memory, and the ways from one to the other.
// Layout of fragments: warp.h.
//
// kPlanes says how exact a product is. 1: operands rounded to bf16 (8 bits of mantissa), one mma. 2: an operand is the
// sum of two bf16, x = hi + lo (16 bits of mantissa), a product hi hi + hi lo + lo hi, three mmas: for calls in fp32.
#pragma once

#include "kernels/cuda/warp.h"

namespace ttt::kernels::cuda {

inline constexpr int kTileRows = 16;  // tokens: rows of an A fragment

struct Two {
  float x, y;
};

// Two neighbouring values.
template <int kPlanes>
struct Word {
  std::uint32_t plane[kPlanes];
};
template <int kPlanes>
struct FragmentA {
  std::uint32_t plane[kPlanes][4];
};
template <int kPlanes>
struct FragmentB {
  std::uint32_t plane[kPlanes][2];
};

template <int kPlanes>
TTT_DEVICE Word<kPlanes> round_to_word(float x, float y) {
  Word<kPlanes> word;
  word.plane[0] = pack_bf16(x, y);
  if constexpr (kPlanes == 2) word.plane[1] = pack_bf16(x - low_bf16(word.plane[0]), y - high_bf16(word.plane[0]));
  return word;
}
template <int kPlanes>
TTT_DEVICE Two values_of(const Word<kPlanes>& word) {
  Two v{low_bf16(word.plane[0]), high_bf16(word.plane[0])};
  if constexpr (kPlanes == 2) v.x += low_bf16(word.plane[1]), v.y += high_bf16(word.plane[1]);
  return v;
}
template <int kPlanes>
TTT_DEVICE Word<kPlanes> transpose(Word<kPlanes> word) {
  TTT_UNROLL
  for (int p = 0; p < kPlanes; ++p) word.plane[p] = transpose_8x8(word.plane[p]);
  return word;
}

template <int kPlanes>
TTT_DEVICE FragmentA<kPlanes> fragment_a(const Word<kPlanes>& a0, const Word<kPlanes>& a1, const Word<kPlanes>& a2,
                                         const Word<kPlanes>& a3) {
  FragmentA<kPlanes> a;
  TTT_UNROLL
  for (int p = 0; p < kPlanes; ++p)
    a.plane[p][0] = a0.plane[p], a.plane[p][1] = a1.plane[p], a.plane[p][2] = a2.plane[p], a.plane[p][3] = a3.plane[p];
  return a;
}
template <int kPlanes>
TTT_DEVICE FragmentB<kPlanes> fragment_b(const Word<kPlanes>& b0, const Word<kPlanes>& b1) {
  FragmentB<kPlanes> b;
  TTT_UNROLL
  for (int p = 0; p < kPlanes; ++p) b.plane[p][0] = b0.plane[p], b.plane[p][1] = b1.plane[p];
  return b;
}

// C += A B; the small terms first.
template <int kPlanes>
TTT_DEVICE void multiply_add(float (&c)[4], const FragmentA<kPlanes>& a, const FragmentB<kPlanes>& b) {
  if constexpr (kPlanes == 2) {
    multiply_add(c, a.plane[1], b.plane[0]);
    multiply_add(c, a.plane[0], b.plane[1]);
  }
  multiply_add(c, a.plane[0], b.plane[0]);
}

// X [16, kCols] in shared memory, row-major, 16 bytes between rows so that eight rows touch every bank once. A view:
// the memory (kBytes, aligned to 16) belongs to the caller.
template <int kPlanes, int kCols, int kRows = kTileRows>
struct OperandTile {
  static constexpr int kStep = kCols + 8;  // bf16 between rows
  static constexpr int kBytes = kPlanes * kRows * kStep * 2;
  std::uint16_t* data;

  TTT_DEVICE std::uint16_t* at(int plane, int row, int col) const { return data + (plane * kRows + row) * kStep + col; }

  // The A fragment of rows row..row+15, columns k..k+15 of X.
  TTT_DEVICE FragmentA<kPlanes> a(int row, int k) const {
    const int lane = thread_in_block() % 32;
    FragmentA<kPlanes> out;
    TTT_UNROLL
    for (int p = 0; p < kPlanes; ++p) load_matrices(out.plane[p], at(p, row + lane % 16, k + lane / 16 * 8));
    return out;
  }
  // The A fragment of X^T: its rows are columns m..m+15 of X, its columns rows k..k+15.
  TTT_DEVICE FragmentA<kPlanes> a_transposed(int m, int k) const {
    const int lane = thread_in_block() % 32;
    FragmentA<kPlanes> out;
    TTT_UNROLL
    for (int p = 0; p < kPlanes; ++p)
      load_matrices_transposed(out.plane[p], at(p, k + lane / 16 * 8 + lane % 8, m + lane / 8 % 2 * 8));
    return out;
  }
  // The B fragments of X: rows k..k+15; columns n..n+7 and n+8..n+15.
  TTT_DEVICE void b(int k, int n, FragmentB<kPlanes> (&out)[2]) const {
    const int lane = thread_in_block() % 32;
    TTT_UNROLL
    for (int p = 0; p < kPlanes; ++p) {
      std::uint32_t words[4];
      load_matrices_transposed(words, at(p, k + lane % 16, n + lane / 16 * 8));
      out[0].plane[p][0] = words[0], out[0].plane[p][1] = words[1];
      out[1].plane[p][0] = words[2], out[1].plane[p][1] = words[3];
    }
  }
  // The B fragments of X^T: its rows are columns k..k+15 of X, its columns rows n..n+7 and n+8..n+15.
  TTT_DEVICE void b_transposed(int k, int n, FragmentB<kPlanes> (&out)[2]) const {
    const int lane = thread_in_block() % 32;
    TTT_UNROLL
    for (int p = 0; p < kPlanes; ++p) {
      std::uint32_t words[4];
      load_matrices(words, at(p, n + lane / 16 * 8 + lane % 8, k + lane / 8 % 2 * 8));
      out[0].plane[p][0] = words[0], out[0].plane[p][1] = words[1];
      out[1].plane[p][0] = words[2], out[1].plane[p][1] = words[3];
    }
  }
  // Two values, (row, col) and (row, col + 1); col is even.
  TTT_DEVICE void set(int row, int col, const Word<kPlanes>& word) const {
    TTT_UNROLL
    for (int p = 0; p < kPlanes; ++p) *reinterpret_cast<std::uint32_t*>(at(p, row, col)) = word.plane[p];
  }
};

// Rows of a tensor as they lie in global memory, [16, kCols] in shared memory; of an Element, which is std::uint16_t
// for bf16, or float. For bf16 the layout is that of an OperandTile<1, kCols>.
template <class Element, int kCols>
struct RowTile {
  static constexpr int kStep = kCols + 16 / static_cast<int>(sizeof(Element));
  static constexpr int kBytes = kTileRows * kStep * static_cast<int>(sizeof(Element));
  Element* data;

  // Starts copying `rows` rows of `source`, `step` elements apart; zeros below them. All threads of the block.
  template <int kThreads>
  TTT_DEVICE void fetch(const Element* source, std::int64_t step, std::int64_t rows) const {
    constexpr int kElements = 16 / static_cast<int>(sizeof(Element)), kChunks = kCols / kElements;
    const int thread = recomputed(thread_in_block());
    TTT_UNROLL
    for (int first = 0; first < kTileRows * kChunks; first += kThreads) {
      const int i = first + thread, r = i / kChunks, col = i % kChunks * kElements;
      if (kTileRows * kChunks % kThreads != 0 && i >= kTileRows * kChunks) return;
      const bool valid = r < rows;
      copy_16_bytes(data + r * kStep + col, source + (valid ? r * step + col : 0), valid);
    }
  }
  // (row, col) and (row, col + 1); col is even.
  TTT_DEVICE Two two(int row, int col) const {
    const Element* p = data + row * kStep + col;
    if constexpr (sizeof(Element) == 2) {
      const std::uint32_t word = *reinterpret_cast<const std::uint32_t*>(p);
      return {low_bf16(word), high_bf16(word)};
    } else {
      return {p[0], p[1]};
    }
  }
};

// (row, col) and (row, col + 1) of a tensor in global memory.
TTT_DEVICE void store_two(std::uint16_t* p, float x, float y) {
  *reinterpret_cast<std::uint32_t*>(p) = pack_bf16(x, y);
}
TTT_DEVICE void store_two(float* p, float x, float y) {
  p[0] = x, p[1] = y;
}

}  // namespace ttt::kernels::cuda
