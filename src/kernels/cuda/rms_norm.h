// RMSNorm on a GPU, forward and backward (row_args.h): a block works on one row at a time, whose values stay in
// registers. In the backward pass a thread keeps its columns of dweight over the rows of the block.
#pragma once

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/row_args.h"

namespace ttt::kernels::cuda {

// Rows of at most 4 kVectors kThreadCount values.
template <class Element, int kThreadCount, int kVectors>
struct RmsNormForwardBlock {
  using Exchange = BlockExchange<kThreadCount, 1>;
  static constexpr int kThreads = kThreadCount, kSharedBytes = Exchange::kBytes;

  const RmsNormForward<Element>& args;
  Exchange exchange;

  TTT_DEVICE RmsNormForwardBlock(const RmsNormForward<Element>& arguments, char* shared)
      : args(arguments), exchange(shared) {}

  TTT_DEVICE void run() {
    if (args.width % 4 == 0 && vectors_fit<4>(args.x, args.delta, args.weight, args.x_new, args.y)) {
      normalise<true>();
    } else {
      normalise<false>();
    }
  }

  template <bool kWhole>
  TTT_DEVICE void normalise() {
    using Part = RowPart<kThreads, kVectors, kWhole>;
    const Part part{static_cast<int>(args.width)};
    const std::int64_t row = block_in_grid(), at = row * args.width;
    float x[Part::kValues], y[Part::kValues], weight[Part::kValues];
    part.load(args.x + at, x);
    part.load(args.weight, weight);
    if (args.delta != nullptr) {
      float delta[Part::kValues];
      part.load(args.delta + at, delta);
      TTT_UNROLL
      for (int k = 0; k < Part::kValues; ++k) x[k] += delta[k];
      part.store(args.x_new + at, x);
    }
    float squares[1] = {};
    TTT_UNROLL
    for (int k = 0; k < Part::kValues; ++k) squares[0] += x[k] * x[k];
    exchange.sum(squares);
    const float scale = inverse_sqrt(squares[0] / static_cast<float>(part.width) + args.eps);
    TTT_UNROLL
    for (int k = 0; k < Part::kValues; ++k) y[k] = x[k] * scale * weight[k];
    part.store(args.y + at, y);
    if (thread_in_block() == 0) args.scale[row] = scale;
  }
};

template <class Element, int kThreadCount, int kVectors>
struct RmsNormBackwardBlock {
  using Exchange = BlockExchange<kThreadCount, 1>;
  static constexpr int kThreads = kThreadCount, kSharedBytes = Exchange::kBytes;

  const RmsNormBackward<Element>& args;
  Exchange exchange;

  TTT_DEVICE RmsNormBackwardBlock(const RmsNormBackward<Element>& arguments, char* shared)
      : args(arguments), exchange(shared) {}

  TTT_DEVICE void run() {
    if (args.width % 4 == 0 &&
        vectors_fit<4>(args.dy, args.x, args.weight, args.d_residual, args.dx, args.d_delta, args.dweight)) {
      differentiate<true>();
    } else {
      differentiate<false>();
    }
  }

  template <bool kWhole>
  TTT_DEVICE void differentiate() {
    using Part = RowPart<kThreads, kVectors, kWhole>;
    const Part part{static_cast<int>(args.width)};
    float weight[Part::kValues], dweight[Part::kValues] = {};
    part.load(args.weight, weight);
    const RowRange rows = rows_of_block(args.rows);
    for (std::int64_t row = rows.first; row < rows.last; ++row) {
      const std::int64_t at = row * args.width;
      const float scale = args.scale[row];
      float xh[Part::kValues], dy[Part::kValues], dx[Part::kValues] = {};
      part.load(args.x + at, xh);
      part.load(args.dy + at, dy);
      if (args.d_residual != nullptr) part.load(args.d_residual + at, dx);
      float dot[1] = {};
      TTT_UNROLL
      for (int k = 0; k < Part::kValues; ++k) {
        xh[k] *= scale;
        dweight[k] += dy[k] * xh[k];
        dy[k] *= weight[k];
        dot[0] += dy[k] * xh[k];
      }
      exchange.sum(dot);
      const float mean = dot[0] / static_cast<float>(part.width);
      TTT_UNROLL
      for (int k = 0; k < Part::kValues; ++k) dx[k] += scale * (dy[k] - xh[k] * mean);
      part.store(args.dx + at, dx);
      if (args.d_delta != nullptr) part.store(args.d_delta + at, dx);
    }
    part.store(args.dweight + block_in_grid() * args.width, dweight);
  }
};

}  // namespace ttt::kernels::cuda
