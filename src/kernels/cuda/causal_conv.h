// The causal convolution on a GPU: what a block does (conv_tile.h). One pass over memory each way.
#pragma once

#include "kernels/cuda/conv_tile.h"

namespace ttt::kernels::cuda {

template <class Element, int n>
struct CausalConvForwardBlock : ConvTile<Element, n> {
  using Base = ConvTile<Element, n>;
  using Base::begin, Base::end, Base::kAhead, Base::row;
  static constexpr int kSharedBytes = 0;

  const CausalConvForward<Element>& args;

  TTT_DEVICE CausalConvForwardBlock(const CausalConvForward<Element>& arguments, char*)
      : Base(arguments.in), args(arguments) {}

  TTT_DEVICE void run() const {
    if (!this->own || begin >= end) return;
    const Convolution<n> conv(*this, args.conv);
    float rows[kConvTaps][n];
    TTT_UNROLL
    for (int w = 1; w < kConvTaps; ++w) unpack(this->row_or_window(begin - kConvTaps + w), rows[w]);
    Element* y = args.y.data + this->sequence * args.y.sequence + this->column;
    for (int first = begin; first < end; first += kAhead) {
      Packed<Element, n> next[kAhead];
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i) next[i] = row(first + i);
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i) {
        shift(rows);
        unpack(next[i], rows[kConvTaps - 1]);
        float out[n];
        conv.apply(rows, out);
        if (first + i < end) store_values<n>(y + (first + i) * args.y.row, out);
      }
    }
  }
};

template <class Element, int n>
struct CausalConvBackwardBlock : ConvTile<Element, n> {
  using Base = ConvTile<Element, n>;
  using Base::begin, Base::end, Base::kAhead, Base::in, Base::own;
  static constexpr int kSharedBytes = ConvolutionBackward<n>::kSums * Base::kColumns * (Base::kThreads / 32) * 4;

  const CausalConvBackward<Element>& args;
  float* sums;

  TTT_DEVICE CausalConvBackwardBlock(const CausalConvBackward<Element>& arguments, char* memory)
      : Base(arguments.in), args(arguments), sums(reinterpret_cast<float*>(memory)) {}

  TTT_DEVICE Packed<Element, n> gradient(int t) const {
    return load_packed<n>(args.dy.data + this->sequence * args.dy.sequence + t * args.dy.row + this->column,
                          own && t >= 0 && t < in.time);
  }
  TTT_DEVICE void run() {
    ConvolutionBackward<n> conv(*this, args.weight);
    // The first warp takes the window's rows, too: what they have made counts for the weights.
    const int start = begin == 0 && in.window != nullptr ? -kConvTaps : begin;
    TTT_UNROLL
    for (int w = 1; w < kConvTaps; ++w) unpack(gradient(start + w - 1), conv.dy[w]);
    Element* to = args.dx.data + this->sequence * args.dx.sequence + this->column;
    for (int first = start; own && first < end; first += kAhead) {
      Packed<Element, n> x[kAhead], dy[kAhead];
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i)
        x[i] = this->row_or_window(first + i), dy[i] = gradient(first + i + kConvTaps - 1);
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i) {
        const int t = first + i;
        shift(conv.dy);
        unpack(dy[i], conv.dy[kConvTaps - 1]);
        float value[n], dx[n] = {};
        unpack(x[i], value);
        conv.add(value, dx);
        if (t >= 0 && t < end) store_values<n>(to + t * args.dx.row, dx);
      }
    }
    conv.store(*this, sums, args.conv);
  }
};

}  // namespace ttt::kernels::cuda
