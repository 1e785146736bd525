// What the kernels of the small ops share, which are bound by memory: rows of values, a thread's part of a row, and
// sums over a block.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/vectors.h"

namespace ttt::kernels::cuda {

// --- rows in memory ---

// n values from column `first` on of a row of `width`. kWhole: they are all within the row, and vectors fit; otherwise
// one by one, and outside of the row `outside`.
template <bool kWhole, int n, class T>
TTT_DEVICE void load_some(const T* row, std::int64_t first, std::int64_t width, float* x, float outside = 0) {
  if constexpr (kWhole) {
    load_values<n>(row + first, x);
  } else {
    TTT_UNROLL
    for (int i = 0; i < n; ++i) x[i] = first + i >= 0 && first + i < width ? value_of(row[first + i]) : outside;
  }
}
template <bool kWhole, int n, class T>
TTT_DEVICE void store_some(T* row, std::int64_t first, std::int64_t width, const float* x) {
  if constexpr (kWhole) {
    store_values<n>(row + first, x);
  } else {
    TTT_UNROLL
    for (int i = 0; i < n; ++i) {
      if (first + i >= 0 && first + i < width) store_value(row + first + i, x[i]);
    }
  }
}

// --- rows in registers ---

// The places of a row's columns.
struct SideBySide {
  TTT_DEVICE int operator()(int column) const { return column; }
};

// A thread's part of a row of `width` values: kVectors times four neighbours, such that the threads' vectors lie side
// by side. Columns beyond the row are 0. kWhole: rows are whole vectors, and these fit; then the row's first is read in
// the stead of a vector beyond it, so that loads need no branches and are all on their way at once.
template <int kThreads, int kVectors, bool kWhole>
struct RowPart {
  static constexpr int kValues = 4 * kVectors;
  int width;

  // Of the first of a vector's values. Where registers are short it is computed anew for each use.
  TTT_DEVICE static int column(int vector) {
    const int thread = kWhole && kVectors <= 2 ? thread_in_block() : recomputed(thread_in_block());
    return 4 * (vector * kThreads + thread);
  }
  // Whether value k is one of the row.
  TTT_DEVICE bool within(int k) const { return column(k / 4) + (kWhole ? 0 : k % 4) < width; }

  // A vector of `row`. place(column): where a column lies, from `row` on; a vector's columns side by side where kWhole.
  template <class T, class Place>
  TTT_DEVICE void load_vector(const T* row, int vector, float* x, const Place& place) const {
    const int first = column(vector);
    if constexpr (kWhole) {
      const bool within = first < width;
      load_values<4>(row + place(within ? first : 0), x);
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) x[i] = within ? x[i] : 0;
    } else {
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) x[i] = first + i < width ? value_of(row[place(first + i)]) : 0;
    }
  }
  template <class T, class Place>
  TTT_DEVICE void store_vector(T* row, int vector, const float* x, const Place& place) const {
    const int first = column(vector);
    if constexpr (kWhole) {
      if (first < width) store_values<4>(row + place(first), x);
    } else {
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) {
        if (first + i < width) store_value(row + place(first + i), x[i]);
      }
    }
  }
  template <class T>
  TTT_DEVICE void load_vector(const T* row, int vector, float* x) const {
    load_vector(row, vector, x, SideBySide());
  }

  template <class T, class Place = SideBySide>
  TTT_DEVICE void load(const T* row, float (&x)[kValues], const Place& place = {}) const {
    TTT_UNROLL
    for (int v = 0; v < kVectors; ++v) load_vector(row, v, x + 4 * v, place);
  }
  template <class T, class Place = SideBySide>
  TTT_DEVICE void store(T* row, const float (&x)[kValues], const Place& place = {}) const {
    TTT_UNROLL
    for (int v = 0; v < kVectors; ++v) store_vector(row, v, x + 4 * v, place);
  }
};

// The rows [first, last) of a block that sums over its rows.
struct RowRange {
  std::int64_t first, last;
};
TTT_DEVICE RowRange rows_of_block(std::int64_t rows) {
  return {rows * block_in_grid() / blocks_in_grid(), rows * (block_in_grid() + 1) / blocks_in_grid()};
}

// --- over a block ---

// Sums and maxima over all threads of a block, the same bits at each of them: over a warp by shuffles, then over the
// warps through shared memory. Two buffers in turn, so that one barrier is enough: who writes a buffer again has passed
// the barrier at which all had read it.
template <int kThreads, int kMost>
class BlockExchange {
 public:
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kBytes = 2 * kWarps * kMost * 4;
  static_assert((kWarps & (kWarps - 1)) == 0);

  TTT_DEVICE explicit BlockExchange(char* memory) : memory_(reinterpret_cast<float*>(memory)) {}

  template <int n>
  TTT_DEVICE void sum(float (&x)[n]) {
    combine(x, [](float a, float b) { return a + b; });
  }
  TTT_DEVICE float largest(float x) {
    float values[1] = {x};
    combine(values, [](float a, float b) { return a > b ? a : b; });
    return values[0];
  }

 private:
  template <int n, class Operation>
  TTT_DEVICE void combine(float (&x)[n], const Operation& operation) {
    static_assert(n <= kMost);
    float* buffer = memory_ + turn_ * (kWarps * kMost);
    turn_ ^= 1;
    TTT_UNROLL
    for (int k = 0; k < n; ++k) {
      TTT_UNROLL
      for (int mask = 16; mask > 0; mask /= 2) x[k] = operation(x[k], shuffle_xor(x[k], mask));
      if (thread_in_block() % 32 == 0) buffer[thread_in_block() / 32 * kMost + k] = x[k];
    }
    sync_block();
    TTT_UNROLL
    for (int k = 0; k < n; ++k) {
      x[k] = buffer[thread_in_block() % kWarps * kMost + k];
      TTT_UNROLL
      for (int mask = kWarps / 2; mask > 0; mask /= 2) x[k] = operation(x[k], shuffle_xor(x[k], mask));
    }
  }

  float* memory_;
  int turn_ = 0;
};

}  // namespace ttt::kernels::cuda
