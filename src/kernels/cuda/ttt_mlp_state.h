// A warp's part of a matrix of fast weights, or of their gradient: S [kRows,kCols] in fp32 as accumulators of
// mma.m16n8k16, in registers or in memory, and its products. An accumulator, rounded, is the B fragment of a product
// with S^T as it stands, and of a product with S after the transposition of its 8 x 8 quarters (warp.h).
#pragma once

#include "kernels/cuda/rows.h"

namespace ttt::kernels::cuda {

template <int kRows, int kCols>
struct TilesInRegisters {
  float x[kRows / 16][kCols / 8][4];

  TTT_DEVICE explicit TilesInRegisters(float*) {}
  TTT_DEVICE void begin() const {}
  TTT_DEVICE void get(int m, int n, float (&c)[4]) const {
    TTT_UNROLL
    for (int i = 0; i < 4; ++i) c[i] = x[m][n][i];
  }
  TTT_DEVICE void put(int m, int n, const float (&c)[4]) {
    TTT_UNROLL
    for (int i = 0; i < 4; ++i) x[m][n][i] = c[i];
  }
};

// Tile after tile, of each what lane after lane holds. Lanes read only what they wrote.
template <int kRows, int kCols>
struct TilesInMemory {
  struct alignas(16) Accumulator {
    float x[4];
  };
  Accumulator* own;

  // warps: the memory of all warps of the block.
  TTT_DEVICE explicit TilesInMemory(float* warps)
      : own(reinterpret_cast<Accumulator*>(warps + thread_in_block() / 32 * (kRows * kCols)) + thread_in_block() % 32) {
  }
  // Nothing is read earlier: for reading ahead there are no registers.
  TTT_DEVICE void begin() const { sync_warp(); }
  TTT_DEVICE Accumulator& at(int m, int n) const { return own[(m * (kCols / 8) + n) * 32]; }
  TTT_DEVICE void get(int m, int n, float (&c)[4]) const {
    const Accumulator a = at(m, n);
    TTT_UNROLL
    for (int i = 0; i < 4; ++i) c[i] = a.x[i];
  }
  TTT_DEVICE void put(int m, int n, const float (&c)[4]) const { at(m, n) = {c[0], c[1], c[2], c[3]}; }
};

template <int kPlanes, int kRows, int kCols, bool kInRegisters>
struct FastWeights {
  std::conditional_t<kInRegisters, TilesInRegisters<kRows, kCols>, TilesInMemory<kRows, kCols>> tiles;

  TTT_DEVICE explicit FastWeights(float* memory) : tiles(memory) {}

  // body(value, row, col) for every value that this lane holds, which body may change.
  template <class Body>
  TTT_DEVICE void for_each(const Body& body) {
    const int lane = thread_in_block() % 32;
    TTT_UNROLL
    for (int m = 0; m < kRows / 16; ++m) {
      TTT_UNROLL
      for (int n = 0; n < kCols / 8; ++n) {
        float c[4];
        tiles.get(m, n, c);
        TTT_UNROLL
        for (int x = 0; x < 4; ++x) body(c[x], 16 * m + lane / 4 + x / 2 * 8, 8 * n + lane % 4 * 2 + x % 2);
        tiles.put(m, n, c);
      }
    }
  }

  // out[i] += columns 8 first.. of A_i S^T [16,kRows]. rows(slice, fragments): columns 16 slice.. of A_0 to A_n-1.
  template <int n, int kOut, class Rows>
  TTT_DEVICE void add_product_transposed(OwnColumns<kOut>* const (&out)[n], const Rows& rows, int first = 0) const {
    tiles.begin();
    TTT_UNROLL
    for (int slice = 0; slice < kCols / 16; ++slice) {
      FragmentA<kPlanes> a[n];
      rows(slice, a);
      TTT_UNROLL
      for (int m = 0; m < kOut / 2; ++m) {
        float low[4], high[4];
        tiles.get(first / 2 + m, 2 * slice, low);
        tiles.get(first / 2 + m, 2 * slice + 1, high);
        TTT_UNROLL
        for (int half = 0; half < 2; ++half) {
          const FragmentB<kPlanes> b = fragment_b(round_to_word<kPlanes>(low[2 * half], low[2 * half + 1]),
                                                  round_to_word<kPlanes>(high[2 * half], high[2 * half + 1]));
          TTT_UNROLL
          for (int i = 0; i < n; ++i) multiply_add(out[i]->x[2 * m + half], a[i], b);
        }
      }
    }
  }
  // out += columns 8 first.. of A S [16,kCols]. rows(slice): columns 16 slice.. of A.
  template <int kOut, class Rows>
  TTT_DEVICE void add_product(OwnColumns<kOut>& out, const Rows& rows, int first = 0) const {
    tiles.begin();
    TTT_UNROLL
    for (int slice = 0; slice < kRows / 16; ++slice) {
      const FragmentA<kPlanes> a = rows(slice);
      TTT_UNROLL
      for (int n = 0; n < kOut; ++n) {
        float c[4];
        tiles.get(slice, first + n, c);
        multiply_add(
            out.x[n], a,
            fragment_b(transpose(round_to_word<kPlanes>(c[0], c[1])), transpose(round_to_word<kPlanes>(c[2], c[3]))));
      }
    }
  }
  // S += the sum of A_i B_i over i < n, A_i [kRows,16], B_i [16,kCols]. a(m, fragments): rows 16 m.. of all A_i;
  // b(i, col, fragments): columns col..col+15 of B_i.
  template <int n, class A, class B>
  TTT_DEVICE void update(const A& a, const B& b) {
    TTT_UNROLL
    for (int m = 0; m < kRows / 16; ++m) {
      FragmentA<kPlanes> rows[n];
      a(m, rows);
      TTT_UNROLL
      for (int pair = 0; pair < kCols / 16; ++pair) {
        float left[4], right[4];
        tiles.get(m, 2 * pair, left);
        tiles.get(m, 2 * pair + 1, right);
        TTT_UNROLL
        for (int i = 0; i < n; ++i) {
          FragmentB<kPlanes> columns[2];
          b(i, 16 * pair, columns);
          multiply_add(left, rows[i], columns[0]);
          multiply_add(right, rows[i], columns[1]);
        }
        tiles.put(m, 2 * pair, left);
        tiles.put(m, 2 * pair + 1, right);
      }
    }
  }
};

}  // namespace ttt::kernels::cuda
