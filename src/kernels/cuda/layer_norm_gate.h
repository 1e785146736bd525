// Heads merged, LayerNorm and gate on a GPU, forward and backward (row_args.h): a block works on one token at a time,
// whose values stay in registers. In the backward pass a thread keeps its columns of dweight and dbias over the tokens
// of the block.
#pragma once

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/row_args.h"
#include "kernels/cuda/scalar_math.h"

namespace ttt::kernels::cuda {

// Where the heads of a token lie.
template <class T>
struct TokenHeads {
  const HeadRows<T>& rows;
  int time, head_dim;

  TTT_DEVICE T* of(int row) const { return rows.data + row / time * rows.sequence + row % time * rows.row; }
  TTT_DEVICE auto place() const {
    return [head = rows.head, K = head_dim](int column) { return column / K * head + column % K; };
  }
  // Whether vectors of four columns fit.
  TTT_DEVICE bool fit() const { return head_dim % 4 == 0 && vectors_fit<4>(rows); }
};

// Tokens of at most 4 kVectors kThreadCount values.
template <class Element, class Source, int kThreadCount, int kVectors>
struct LayerNormGateForwardBlock {
  using Exchange = BlockExchange<kThreadCount, 1>;
  static constexpr int kThreads = kThreadCount, kSharedBytes = Exchange::kBytes;

  const LayerNormGateForward<Element, Source>& args;
  const TokenHeads<const Source> o;
  Exchange exchange;

  TTT_DEVICE LayerNormGateForwardBlock(const LayerNormGateForward<Element, Source>& arguments, char* shared)
      : args(arguments), o{args.o, static_cast<int>(args.time), args.head_dim}, exchange(shared) {}

  TTT_DEVICE void run() {
    if (o.fit() && vectors_fit<4>(args.weight, args.bias, args.gate, args.y)) {
      normalise<true>();
    } else {
      normalise<false>();
    }
  }

  template <bool kWhole>
  TTT_DEVICE void normalise() {
    using Part = RowPart<kThreads, kVectors, kWhole>;
    const Part part{args.heads * args.head_dim};
    const std::int64_t row = block_in_grid(), at = row * part.width;
    float x[Part::kValues], gate[Part::kValues];
    part.load(o.of(block_in_grid()), x, o.place());
    if (args.gate != nullptr) part.load(args.gate + at, gate);
    float sum[1] = {}, squares[1] = {};
    TTT_UNROLL
    for (int k = 0; k < Part::kValues; ++k) sum[0] += x[k];
    exchange.sum(sum);
    const float mean = sum[0] / static_cast<float>(part.width);
    TTT_UNROLL
    for (int k = 0; k < Part::kValues; ++k) {
      x[k] = part.within(k) ? x[k] - mean : 0;
      squares[0] += x[k] * x[k];
    }
    exchange.sum(squares);
    const float scale = inverse_sqrt(squares[0] / static_cast<float>(part.width) + args.eps);
    float weight[Part::kValues], bias[Part::kValues];
    part.load(args.weight, weight);
    part.load(args.bias, bias);
    TTT_UNROLL
    for (int k = 0; k < Part::kValues; ++k) {
      x[k] = x[k] * scale * weight[k] + bias[k];
      if (args.gate != nullptr) x[k] *= GeluTanh(gate[k]).value();
    }
    part.store(args.y + at, x);
    if (thread_in_block() == 0) args.mean[row] = mean, args.scale[row] = scale;
  }
};

template <class Element, class Source, int kThreadCount, int kVectors>
struct LayerNormGateBackwardBlock {
  using Exchange = BlockExchange<kThreadCount, 2>;
  static constexpr int kThreads = kThreadCount, kSharedBytes = Exchange::kBytes;

  const LayerNormGateBackward<Element, Source>& args;
  const TokenHeads<const Source> o;
  const TokenHeads<Source> d_o;
  Exchange exchange;

  TTT_DEVICE LayerNormGateBackwardBlock(const LayerNormGateBackward<Element, Source>& arguments, char* shared)
      : args(arguments),
        o{args.o, static_cast<int>(args.time), args.head_dim},
        d_o{args.d_o, static_cast<int>(args.time), args.head_dim},
        exchange(shared) {}

  TTT_DEVICE void run() {
    if (o.fit() && d_o.fit() &&
        vectors_fit<4>(args.dy, args.weight, args.bias, args.gate, args.dgate, args.dweight, args.dbias)) {
      differentiate<true>();
    } else {
      differentiate<false>();
    }
  }

  // With d = dy gelu(gate): dbias = d, dweight = d xh, dxh = d weight, do = scale (dxh - mean(dxh) - xh mean(dxh xh)).
  template <bool kWhole>
  TTT_DEVICE void differentiate() {
    using Part = RowPart<kThreads, kVectors, kWhole>;
    const Part part{args.heads * args.head_dim};
    float dweight[Part::kValues] = {}, dbias[Part::kValues] = {};
    const RowRange rows = rows_of_block(args.sequences * args.time);
    for (std::int64_t row = rows.first; row < rows.last; ++row) {
      const std::int64_t at = row * part.width;
      const float mean = args.mean[row], scale = args.scale[row];
      float xh[Part::kValues], d[Part::kValues], gate[Part::kValues], sums[2] = {};
      part.load(o.of(static_cast<int>(row)), xh, o.place());
      part.load(args.dy + at, d);
      if (args.gate != nullptr) part.load(args.gate + at, gate);
      TTT_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        float weight[4], bias[4];
        part.load_vector(args.weight, v, weight);
        part.load_vector(args.bias, v, bias);
        TTT_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int k = 4 * v + i;
          xh[k] = (xh[k] - mean) * scale;
          if (args.gate != nullptr) {
            const GeluTanh gelu(gate[k]);
            gate[k] = d[k] * (xh[k] * weight[i] + bias[i]) * gelu.slope();  // dgate
            d[k] *= gelu.value();
          }
          dbias[k] += d[k];
          dweight[k] += d[k] * xh[k];
          d[k] *= weight[i];
          sums[0] += d[k];
          sums[1] += d[k] * xh[k];
        }
      }
      if (args.gate != nullptr) part.store(args.dgate + at, gate);
      exchange.sum(sums);
      const float width = static_cast<float>(part.width), mean_d = sums[0] / width, mean_dot = sums[1] / width;
      TTT_UNROLL
      for (int k = 0; k < Part::kValues; ++k) d[k] = scale * (d[k] - mean_d - xh[k] * mean_dot);
      part.store(d_o.of(static_cast<int>(row)), d, d_o.place());
    }
    part.store(args.dweight + std::int64_t{block_in_grid()} * part.width, dweight);
    part.store(args.dbias + std::int64_t{block_in_grid()} * part.width, dbias);
  }
};

}  // namespace ttt::kernels::cuda
