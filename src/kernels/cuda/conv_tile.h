// What the kernels with a causal convolution share. A lane owns n neighbouring channels and walks along 32 tokens with
// the last rows in registers; a block is four warps of the same channels, 128 tokens. Rows are read four at a time, so
// that enough of them are on their way.
#pragma once

#include "kernels/cuda/conv_rope_args.h"
#include "kernels/cuda/vectors.h"

namespace ttt::kernels::cuda {

template <int n, class Element>
bool vectors_fit(const ConvInputs<Element>& in) {
  return in.width % n == 0 && vectors_fit<n>(in.x) && vectors_fit<n>(in.window);
}
template <int n>
bool vectors_fit(const ConvWeights& conv) {
  return vectors_fit<n>(conv.weight, conv.bias);
}

template <class Element, int n>
struct ConvTile {
  static constexpr int kThreads = 128;
  static constexpr int kColumns = 32 * n;  // of a block
  static constexpr int kAhead = 4;         // rows that are read at a time
  static constexpr int kWarpTokens = kConvTokens / (kThreads / 32);

  const ConvInputs<Element>& in;
  int part, sequence;
  int first_column, column;  // of the block, of the lane
  bool own;                  // whether the lane has columns at all
  int begin, end;            // the warp's tokens

  TTT_DEVICE explicit ConvTile(const ConvInputs<Element>& inputs) : in(inputs) {
    const int thread = thread_in_block(), tiles = static_cast<int>((in.width + kColumns - 1) / kColumns);
    const int time = static_cast<int>(in.time), stretches = (time + kConvTokens - 1) / kConvTokens;
    part = block_in_grid() / tiles;
    sequence = part / stretches;
    first_column = block_in_grid() % tiles * kColumns;
    column = first_column + thread % 32 * n;
    own = column < in.width;
    begin = part % stretches * kConvTokens + thread / 32 * kWarpTokens;
    end = begin + kWarpTokens < time ? begin + kWarpTokens : time;
  }
  static std::int64_t blocks(const ConvInputs<Element>& in) {
    return in.parts() * ((in.width + kColumns - 1) / kColumns);
  }

  // x_t, zeros after the last of the warp's tokens.
  TTT_DEVICE Packed<Element, n> row(int t) const {
    return load_packed<n>(in.x.data + sequence * in.x.sequence + t * in.x.row + column, t < end);
  }
  // The same for any t from -4 on: before t = 0 from the window, zeros where there is none.
  TTT_DEVICE Packed<Element, n> row_or_window(int t) const {
    if (t >= 0) return row(t);
    const bool known = in.window != nullptr && t > -kConvTaps;
    const std::int64_t at = static_cast<std::int64_t>(sequence) * (kConvTaps - 1) + kConvTaps - 1 + t;
    return load_packed<n>(in.window + (known ? at * in.width + column : 0), known);
  }

  // The weights of the lane's columns.
  TTT_DEVICE void load(const float* weight, float (&taps)[kConvTaps][n]) const {
    TTT_UNROLL
    for (int w = 0; w < kConvTaps; ++w) load_values<n>(weight + w * in.width + column, taps[w], own);
  }
};

// rows: the oldest makes place for another one.
template <int n>
TTT_DEVICE void shift(float (&rows)[kConvTaps][n]) {
  TTT_UNROLL
  for (int w = 0; w + 1 < kConvTaps; ++w) {
    TTT_UNROLL
    for (int i = 0; i < n; ++i) rows[w][i] = rows[w + 1][i];
  }
}

template <int n>
struct Convolution {
  float weight[kConvTaps][n], bias[n];

  template <class Tile>
  TTT_DEVICE Convolution(const Tile& tile, const ConvWeights& from) {
    tile.load(from.weight, weight);
    load_values<n>(from.bias + tile.column, bias, tile.own);
  }
  // rows: x_{t-3} .. x_t.
  TTT_DEVICE void apply(const float (&rows)[kConvTaps][n], float (&y)[n]) const {
    TTT_UNROLL
    for (int i = 0; i < n; ++i) {
      y[i] = bias[i];
      TTT_UNROLL
      for (int w = 0; w < kConvTaps; ++w) y[i] += weight[w][i] * rows[w][i];
    }
  }
};

// The backward pass of one convolution, by what x_t has made: tap w of it is in y_{t+3-w}.
template <int n>
struct ConvolutionBackward {
  float weight[kConvTaps][n], dweight[kConvTaps][n] = {}, dbias[n] = {};
  float dy[kConvTaps][n] = {};  // dy_t .. dy_{t+3}, zeros after the last token

  template <class Tile>
  TTT_DEVICE ConvolutionBackward(const Tile& tile, const float* from) {
    tile.load(from, weight);
  }
  TTT_DEVICE void add(const float (&x)[n], float (&dx)[n]) {
    TTT_UNROLL
    for (int i = 0; i < n; ++i) {
      TTT_UNROLL
      for (int w = 0; w < kConvTaps; ++w) {
        dx[i] += weight[w][i] * dy[kConvTaps - 1 - w][i];
        dweight[w][i] += x[i] * dy[kConvTaps - 1 - w][i];
      }
      dbias[i] += dy[0][i];
    }
  }

  // The sums over the block's warps, in their order, to row `part` of the gradients. `sums`: shared memory; all
  // threads.
  static constexpr int kSums = kConvTaps + 1;
  template <class Tile>
  TTT_DEVICE void store(const Tile& tile, float* sums, const ConvGradients& to) const {
    constexpr int kWarps = Tile::kThreads / 32, kColumns = Tile::kColumns;
    const int thread = thread_in_block();
    float* own = sums + thread / 32 * (kSums * kColumns) + thread % 32 * n;
    TTT_UNROLL
    for (int w = 0; w < kConvTaps; ++w) store_values<n>(own + w * kColumns, dweight[w]);
    store_values<n>(own + kConvTaps * kColumns, dbias);
    sync_block();
    for (int i = thread; i < kSums * kColumns; i += Tile::kThreads) {
      const int w = i / kColumns, column = tile.first_column + i % kColumns;
      if (column >= tile.in.width) continue;
      float sum = 0;
      TTT_UNROLL
      for (int warp = 0; warp < kWarps; ++warp) sum += sums[warp * (kSums * kColumns) + i];
      if (w < kConvTaps) {
        to.weight[(tile.part * kConvTaps + w) * tile.in.width + column] = sum;
      } else {
        to.bias[tile.part * tile.in.width + column] = sum;
      }
    }
  }
};

}  // namespace ttt::kernels::cuda
