// Two causal convolutions of the same rows, q and k, each rotated and split into heads, on a GPU: what a block does
// (conv_tile.h, rope.h). One pass over memory each way.
#pragma once

#include "kernels/cuda/conv_tile.h"
#include "kernels/cuda/rope.h"

namespace ttt::kernels::cuda {

// Where a lane's columns lie in their head, and in the table.
template <class Element, int n>
struct ConvRopeTile : ConvTile<Element, n> {
  const RopeRows& table;
  int head_dim, head, place;  // of the columns: their head, and the first's place in it

  TTT_DEVICE ConvRopeTile(const ConvInputs<Element>& inputs, const RopeRows& rows, int size)
      : ConvTile<Element, n>(inputs),
        table(rows),
        head_dim(size),
        head(this->column / head_dim),
        place(this->column % head_dim) {}

  // Token t's row of the table, t from -4 on, and that of the token after it.
  TTT_DEVICE int position(int t) const {
    return static_cast<int>((table.offset + kConvTaps * table.positions + t) % table.positions);
  }
  TTT_DEVICE void advance(int& position) const {
    if (++position == table.positions) position = 0;
  }
  template <int kDirection>
  TTT_DEVICE Rotation<n, kDirection> rotation(int position) const {
    return {table, position * head_dim + place};
  }
  // The lane's columns in the row of token 0.
  template <class T>
  TTT_DEVICE T* row_of(const HeadRows<T>& rows) const {
    return rows.data + this->sequence * rows.sequence + head * rows.head + place;
  }
};

template <class Element, class To, int n>
struct ConvRopeForwardBlock : ConvRopeTile<Element, n> {
  using Base = ConvRopeTile<Element, n>;
  using Base::begin, Base::end, Base::kAhead, Base::row;
  static constexpr int kSharedBytes = 0;
  static constexpr int kResident = 4;

  const ConvRopeForward<Element, To>& args;

  TTT_DEVICE ConvRopeForwardBlock(const ConvRopeForward<Element, To>& arguments, char*)
      : Base(arguments.in, arguments.table, arguments.head_dim), args(arguments) {}

  TTT_DEVICE void run() const {
    if (!this->own || begin >= end) return;
    const Convolution<n> q_conv(*this, args.q_conv), k_conv(*this, args.k_conv);
    float rows[kConvTaps][n];
    TTT_UNROLL
    for (int w = 1; w < kConvTaps; ++w) unpack(this->row_or_window(begin - kConvTaps + w), rows[w]);
    To *q = this->row_of(args.q), *k = this->row_of(args.k);
    int position = this->position(begin);
    for (int first = begin; first < end; first += kAhead) {
      Packed<Element, n> next[kAhead];
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i) next[i] = row(first + i);
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i) {
        shift(rows);
        unpack(next[i], rows[kConvTaps - 1]);
        const Rotation<n, 1> rotation = this->template rotation<1>(position);
        this->advance(position);
        float before[n], after[n];
        q_conv.apply(rows, before);
        rotation.apply(before, after);
        if (first + i < end) store_values<n>(q + (first + i) * args.q.row, after);
        k_conv.apply(rows, before);
        rotation.apply(before, after);
        if (first + i < end) store_values<n>(k + (first + i) * args.k.row, after);
      }
    }
  }
};

template <class Element, class To, int n>
struct ConvRopeBackwardBlock : ConvRopeTile<Element, n> {
  using Base = ConvRopeTile<Element, n>;
  using Base::begin, Base::end, Base::in, Base::own;
  static constexpr int kSums = ConvolutionBackward<n>::kSums * Base::kColumns * (Base::kThreads / 32);
  static constexpr int kSharedBytes = 2 * kSums * 4;
  static constexpr int kResident = std::is_same_v<Element, float> && std::is_same_v<To, float> ? 2 : 3;
  static constexpr int kAhead = 2;  // rows of x and of both gradients

  const ConvRopeBackward<Element, To>& args;
  float* sums;

  TTT_DEVICE ConvRopeBackwardBlock(const ConvRopeBackward<Element, To>& arguments, char* shared)
      : Base(arguments.in, arguments.table, arguments.head_dim),
        args(arguments),
        sums(reinterpret_cast<float*>(shared)) {}

  TTT_DEVICE bool exists(int t) const { return own && t >= 0 && t < in.time; }

  // The gradients of both convolutions' outputs at the next token, rotated back, become the newest rows.
  TTT_DEVICE void take(const Packed<To, n>& dq, const Packed<To, n>& dk, int& position, ConvolutionBackward<n>& q_conv,
                       ConvolutionBackward<n>& k_conv) const {
    const Rotation<n, -1> rotation = this->template rotation<-1>(position);
    this->advance(position);
    float rotated[n];
    shift(q_conv.dy);
    unpack(dq, rotated);
    rotation.apply(rotated, q_conv.dy[kConvTaps - 1]);
    shift(k_conv.dy);
    unpack(dk, rotated);
    rotation.apply(rotated, k_conv.dy[kConvTaps - 1]);
  }

  TTT_DEVICE void run() {
    ConvolutionBackward<n> q_conv(*this, args.q_weight), k_conv(*this, args.k_weight);
    // The first warp takes the window's rows, too: what they have made counts for the weights.
    const int start = begin == 0 && in.window != nullptr ? -kConvTaps : begin;
    const To *dq = this->row_of(args.dq), *dk = this->row_of(args.dk);
    const auto dq_of = [&](int t) { return load_packed<n>(dq + t * args.dq.row, exists(t)); };
    const auto dk_of = [&](int t) { return load_packed<n>(dk + t * args.dk.row, exists(t)); };
    int position = this->position(start);
    TTT_UNROLL
    for (int w = 0; w + 1 < kConvTaps; ++w) take(dq_of(start + w), dk_of(start + w), position, q_conv, k_conv);
    Element* to = args.dx.data + this->sequence * args.dx.sequence + this->column;
    for (int first = start; own && first < end; first += kAhead) {
      Packed<Element, n> x[kAhead];
      Packed<To, n> later_dq[kAhead], later_dk[kAhead];
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i) {
        x[i] = this->row_or_window(first + i);
        later_dq[i] = dq_of(first + i + kConvTaps - 1);
        later_dk[i] = dk_of(first + i + kConvTaps - 1);
      }
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i) {
        take(later_dq[i], later_dk[i], position, q_conv, k_conv);
        float value[n], dx[n] = {};
        unpack(x[i], value);
        q_conv.add(value, dx);
        k_conv.add(value, dx);
        const int t = first + i;
        if (t >= 0 && t < end) store_values<n>(to + t * args.dx.row, dx);
      }
    }
    q_conv.store(*this, sums, args.q_conv);
    k_conv.store(*this, sums + kSums, args.k_conv);
  }
};

}  // namespace ttt::kernels::cuda
