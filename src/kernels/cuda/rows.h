// Rows of 16 tokens spread over a block: warp w holds columns [w kOwn, (w + 1) kOwn) of each as accumulators of
// mma.m16n8k16. Sums over a row are taken in its quad of lanes, then over the warps in shared memory, always in the
// same order.
#pragma once

#include "kernels/cuda/tiles.h"
#include "kernels/ttt_params.h"

namespace ttt::kernels::cuda {

// A warp's part of 16 rows: x[j] is the accumulator of columns 8 j .. 8 j + 7 of its own.
template <int kTiles>
struct OwnColumns {
  float x[kTiles][4];
};

// A warp's part of 16 rows as operands of products: words [tile][row half].
template <int kPlanes, int kTiles>
struct RoundedColumns {
  Word<kPlanes> word[kTiles][2];

  TTT_DEVICE static RoundedColumns of(const OwnColumns<kTiles>& x) { return scaled(x, {1, 1}); }
  // Rows g times factors.x, rows g + 8 times factors.y.
  TTT_DEVICE static RoundedColumns scaled(const OwnColumns<kTiles>& x, const Two& factors) {
    RoundedColumns out;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      out.word[j][0] = round_to_word<kPlanes>(factors.x * x.x[j][0], factors.x * x.x[j][1]);
      out.word[j][1] = round_to_word<kPlanes>(factors.y * x.x[j][2], factors.y * x.x[j][3]);
    }
    return out;
  }
  TTT_DEVICE OwnColumns<kTiles> values() const {
    OwnColumns<kTiles> out;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      const Two upper = values_of(word[j][0]), lower = values_of(word[j][1]);
      out.x[j][0] = upper.x, out.x[j][1] = upper.y, out.x[j][2] = lower.x, out.x[j][3] = lower.y;
    }
    return out;
  }

  // The A fragment of columns 16 slice..; of the transpose's rows 16 m...
  TTT_DEVICE FragmentA<kPlanes> a(int slice = 0) const {
    return fragment_a(word[2 * slice][0], word[2 * slice][1], word[2 * slice + 1][0], word[2 * slice + 1][1]);
  }
  TTT_DEVICE FragmentA<kPlanes> a_transposed(int m = 0) const {
    return fragment_a(transpose(word[2 * m][0]), transpose(word[2 * m + 1][0]), transpose(word[2 * m][1]),
                      transpose(word[2 * m + 1][1]));
  }
  // The B fragment of columns 8 j..; of the transpose's rows 16 slice.., columns 8 i...
  TTT_DEVICE FragmentB<kPlanes> b(int j) const { return fragment_b(transpose(word[j][0]), transpose(word[j][1])); }
  TTT_DEVICE FragmentB<kPlanes> b_transposed(int slice, int i) const {
    return fragment_b(word[2 * slice][i], word[2 * slice + 1][i]);
  }
};

// The sum over the four lanes that hold a row.
TTT_DEVICE float sum_over_quad(float x) {
  x += shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}
// The sum over the eight lanes that hold a column.
TTT_DEVICE float sum_over_column(float x) {
  x += shuffle_xor(x, 4);
  x += shuffle_xor(x, 8);
  return x + shuffle_xor(x, 16);
}

// Sums over all warps' parts of a row. Two buffers in turn, so that one barrier an exchange is enough: who writes a
// buffer again has passed the barrier at which all had read it.
template <int kWarps, int kMost = 4>
class RowExchange {
 public:
  static constexpr int kBytes = 2 * kWarps * kTileRows * kMost * 4;

  TTT_DEVICE explicit RowExchange(float* memory) : memory_(memory) {}

  // values[i][n]: the n-th value of row g (i = 0) and g + 8 (i = 1) of this warp's columns, the same in a quad. Each
  // warp's go to all: combine(part), part[i][n], warp by warp.
  template <int n, class Combine>
  TTT_DEVICE void gather(const float (&values)[2][n], const Combine& combine) {
    static_assert(n <= kMost);
    if constexpr (kWarps == 1) {
      combine(values);
    } else {
      const int lane = thread_in_block() % 32, warp = thread_in_block() / 32, row = lane / 4;
      float* buffer = memory_ + turn_ * (kWarps * kTileRows * kMost);
      turn_ ^= 1;
      if (lane % 4 == 0) {
        TTT_UNROLL
        for (int i = 0; i < 2; ++i) {
          TTT_UNROLL
          for (int k = 0; k < n; ++k) buffer[(warp * kTileRows + row + 8 * i) * kMost + k] = values[i][k];
        }
      }
      sync_block();
      TTT_UNROLL
      for (int w = 0; w < kWarps; ++w) {
        float part[2][n];
        TTT_UNROLL
        for (int i = 0; i < 2; ++i) {
          TTT_UNROLL
          for (int k = 0; k < n; ++k) part[i][k] = buffer[(w * kTileRows + row + 8 * i) * kMost + k];
        }
        combine(part);
      }
    }
  }

  // values become their sums over the warps. Within a warp they are already summed.
  template <int n>
  TTT_DEVICE void sum(float (&values)[2][n]) {
    float sums[2][n] = {};
    gather(values, [&](const float(&part)[2][n]) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) {
        TTT_UNROLL
        for (int k = 0; k < n; ++k) sums[i][k] += part[i][k];
      }
    });
    TTT_UNROLL
    for (int i = 0; i < 2; ++i) {
      TTT_UNROLL
      for (int k = 0; k < n; ++k) values[i][k] = sums[i][k];
    }
  }

 private:
  float* memory_;
  int turn_ = 0;
};

// Each z[n] becomes xh = (z - mean) r, r[n] = 1 / sqrt(var + eps) of rows g and g + 8; one exchange for all. Mean and
// squared distances of each warp's columns are put together as by Chan et al.: no difference of large sums.
template <int kHeadDim, int kTiles, class Exchange, class... Columns>
TTT_DEVICE void normalise(Exchange& exchange, float (&r)[sizeof...(Columns)][2], Columns&... columns) {
  constexpr int n = sizeof...(Columns);
  constexpr float kOwn = 8 * kTiles;
  OwnColumns<kTiles>* const z[n] = {&columns...};
  float own[2][2 * n];  // mean; sum of squared distances from it
  TTT_UNROLL
  for (int w = 0; w < n; ++w) {
    TTT_UNROLL
    for (int i = 0; i < 2; ++i) {
      float sum = 0, squares = 0;
      TTT_UNROLL
      for (int j = 0; j < kTiles; ++j) sum += z[w]->x[j][2 * i] + z[w]->x[j][2 * i + 1];
      const float mean = sum_over_quad(sum) / kOwn;
      TTT_UNROLL
      for (int j = 0; j < kTiles; ++j) {
        const float x = z[w]->x[j][2 * i] - mean, y = z[w]->x[j][2 * i + 1] - mean;
        squares += x * x + y * y;
      }
      own[i][2 * w] = mean, own[i][2 * w + 1] = sum_over_quad(squares);
    }
  }
  float mean[n][2] = {}, squares[n][2] = {};
  float count = 0;
  exchange.gather(own, [&](const float(&part)[2][2 * n]) {
    const float weight = kOwn / (count + kOwn);
    TTT_UNROLL
    for (int w = 0; w < n; ++w) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) {
        const float distance = part[i][2 * w] - mean[w][i];
        squares[w][i] += part[i][2 * w + 1] + distance * distance * count * weight;
        mean[w][i] += distance * weight;
      }
    }
    count += kOwn;
  });
  TTT_UNROLL
  for (int w = 0; w < n; ++w) {
    TTT_UNROLL
    for (int i = 0; i < 2; ++i) {
      r[w][i] = inverse_sqrt(squares[w][i] / kHeadDim + static_cast<float>(kLayerNormEps));
      TTT_UNROLL
      for (int j = 0; j < kTiles; ++j) {
        TTT_UNROLL
        for (int x = 2 * i; x < 2 * i + 2; ++x) z[w]->x[j][x] = (z[w]->x[j][x] - mean[w][i]) * r[w][i];
      }
    }
  }
}

// The sums of values(tile, accumulator place 0..3, n sums) over rows g (sums[0]) and g + 8 (sums[1]) of the block.
template <int n, int kTiles, class Exchange, class Add>
TTT_DEVICE void sum_rows(Exchange& exchange, float (&sums)[2][n], const Add& add) {
  TTT_UNROLL
  for (int i = 0; i < 2; ++i) {
    float own[n] = {};
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 2 * i; x < 2 * i + 2; ++x) add(j, x, own);
    }
    TTT_UNROLL
    for (int k = 0; k < n; ++k) sums[i][k] = sum_over_quad(own[k]);
  }
  exchange.sum(sums);
}

// a = r * P(a; xh), P(a; xh) = a - mean(a) - xh mean(a (.) xh), for one accumulator.
template <int kHeadDim>
TTT_DEVICE float project(float a, float xh, float r, float sum, float sum_xh) {
  return r * (a - sum / kHeadDim - xh * (sum_xh / kHeadDim));
}

}  // namespace ttt::kernels::cuda
