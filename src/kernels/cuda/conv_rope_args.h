// What the CUDA kernels of the causal convolution, of RoPE with its split into heads, and of both in one are handed.
// Equations: ops/causal_conv.h, ops/rope.h.
//
// Shapes: B sequences, T time, D = H*K width, H heads, K head size, W = 4 taps, P positions in the table, R = parts()
// partial sums, which the caller adds up. Element, To: std::uint16_t for bf16, or float; weights, tables and sums are
// fp32. Widths and steps that are multiples of 8, at addresses that are multiples of 16 bytes, are the fast path.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "kernels/cuda/tensor_args.h"

namespace ttt::kernels::cuda {

inline constexpr int kConvTaps = 4;
inline constexpr int kConvTokens = 128;  // of one block, and so of one partial sum

// What a convolution reads.
template <class Element>
struct ConvInputs {
  std::int64_t sequences = 0;
  std::int64_t time = 0;
  std::int64_t width = 0;
  SequenceRows<const Element> x;
  const Element* window = nullptr;  // [B,W-1,D]: the rows before t = 0, oldest first; null: zeros

  std::int64_t parts() const { return sequences * ((time + kConvTokens - 1) / kConvTokens); }  // R
  std::string shape() const {
    return cat(sequences, " sequences of ", time, " tokens, width ", width, ", ", name_of<Element>());
  }
};
struct ConvWeights {
  const float* weight = nullptr;  // [W,D]
  const float* bias = nullptr;    // [D]
};
struct ConvGradients {
  float* weight = nullptr;  // [R,W,D]
  float* bias = nullptr;    // [R,D]
};

template <class Element>
struct CausalConvForward {
  ConvInputs<Element> in;
  ConvWeights conv;
  SequenceRows<Element> y;

  std::string shape() const { return in.shape(); }
};

template <class Element>
struct CausalConvBackward {
  ConvInputs<Element> in;
  const float* weight = nullptr;  // [W,D]
  SequenceRows<const Element> dy;
  SequenceRows<Element> dx;
  ConvGradients conv;

  std::string shape() const { return in.shape(); }
};

// The table of a rotation; token t takes row (offset + t) mod P. y = x cos + swap(x) sin, where swap exchanges the two
// of each pair: each cosine stands twice, each sine as (-sin, sin).
struct RopeRows {
  const float* cos = nullptr;  // [P,K]
  const float* sin = nullptr;  // [P,K]
  std::int64_t positions = 0;
  std::int64_t offset = 0;
};

// The rotation of rows [B,T,D] that come out as heads, y, or the inverse of heads that come out as rows. K is even, all
// steps too, and addresses are those of pairs (4 bytes in bf16, 8 in fp32).
template <class Element, class To>
struct RopeForward {
  std::int64_t sequences = 0;
  std::int64_t time = 0;
  int heads = 0;
  int head_dim = 0;
  RopeRows table;
  SequenceRows<const Element> x;
  HeadRows<To> y;

  std::string shape() const {
    return cat(sequences, " sequences of ", time, " tokens, ", heads, " heads of ", head_dim, ", ", name_of<Element>());
  }
};
template <class Element, class To>
struct RopeBackward {
  std::int64_t sequences = 0;
  std::int64_t time = 0;
  int heads = 0;
  int head_dim = 0;
  RopeRows table;
  HeadRows<const To> dy;
  SequenceRows<Element> dx;

  std::string shape() const { return RopeForward<Element, To>{sequences, time, heads, head_dim, {}, {}, {}}.shape(); }
};

// Two convolutions of the same rows, each rotated and split into heads. What lies between stays in fp32. K, steps and
// addresses as for the rotation.
template <class Element, class To>
struct ConvRopeForward {
  ConvInputs<Element> in;
  int head_dim = 0;
  RopeRows table;
  ConvWeights q_conv, k_conv;
  HeadRows<To> q, k;

  std::string shape() const { return in.shape(); }
};
template <class Element, class To>
struct ConvRopeBackward {
  ConvInputs<Element> in;
  int head_dim = 0;
  RopeRows table;
  const float* q_weight = nullptr;  // [W,D]
  const float* k_weight = nullptr;  // [W,D]
  HeadRows<const To> dq, dk;
  SequenceRows<Element> dx;  // of both
  ConvGradients q_conv, k_conv;

  std::string shape() const { return in.shape(); }
};

}  // namespace ttt::kernels::cuda
