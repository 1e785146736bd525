// What the CUDA kernels of the TTT op are handed. Shapes and equations: ../ttt_params.h, ../reference/ttt_reference.h.
//
// Element: std::uint16_t for bf16, or float. Statistics, sums and fast weights are fp32. One block a sequence and head,
// p = sequence * heads + head; what is "of p" stands at place p. Rows of heads begin at multiples of 16 bytes where
// nothing else is said.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "kernels/cuda/tensor_args.h"

namespace ttt::kernels::cuda {

inline constexpr int kMiniBatch = 16;  // C: the rows of a tile; other sizes are other rows' work
// Mini-batches between two states that a forward pass stores, from which the backward pass makes those in between.
inline constexpr std::int64_t kLinearSegment = 16, kMlpSegment = 32;

template <class Element>
struct TttInputs {
  std::int64_t sequences = 0;
  int heads = 0;
  std::int64_t time = 0;
  int head_dim = 0;
  HeadRows<const Element> q, k, v;
  HeadRows<const float> sigma;   // [B,H,T]: rows of one value, of any alignment
  const float* scale = nullptr;  // [C]
  const float* gain = nullptr;   // [H,K]
  const float* bias = nullptr;   // [H,K]

  std::int64_t blocks() const { return sequences * heads; }
  std::string shape() const {
    return cat(sequences, " sequences, ", heads, " heads of ", head_dim, ", ", time, " tokens, ", name_of<Element>());
  }
};

template <class Element>
struct TttLinearForward {
  TttInputs<Element> in;
  const float* w = nullptr;  // [H,K,K]; with own_start of p [K,K]
  const float* b = nullptr;  // [H,K]; with own_start of p [K]
  bool own_start = false;    // every sequence starts from weights of its own: the prefill of a longer one
  HeadRows<Element> o;
  // For the backward pass; null: not wanted.
  Element* g = nullptr;  // [B*H,T,K]  G as the products took it
  // The state after every `segment` mini-batches and after the last whole one, each w [K,K] and then b [K]: [B*H,
  // segments, K*K + K], segments = ceil(whole mini-batches / segment). null: not wanted.
  float* states = nullptr;
  std::int64_t segment = 1;
  // The state after the last whole mini-batch, or w and b, which these may be themselves; null: not wanted.
  float* end_w = nullptr;  // of p [K,K]
  float* end_b = nullptr;  // of p [K]

  std::string shape() const { return in.shape(); }
};

template <class Element>
struct TttLinearBackward {
  TttInputs<Element> in;
  HeadRows<const Element> d_o;
  // Of the forward pass.
  const float* w = nullptr;  // [H,K,K], the initial state where no mini-batch is whole
  const float* b = nullptr;  // [H,K]
  const Element* g = nullptr;
  const float* states = nullptr;
  std::int64_t segment = 1;
  // The gradients; those of p are summed over the sequences by the caller, always in the same order.
  HeadRows<Element> dq, dk, dv;
  float* dsigma = nullptr;  // [B*H,T]
  float* dscale = nullptr;  // of p [C]
  float* dgain = nullptr;   // of p [K]
  float* dbias = nullptr;   // of p [K]
  float* dw = nullptr;      // of p [K,K]
  float* db = nullptr;      // of p [K]

  std::string shape() const { return in.shape(); }
};

}  // namespace ttt::kernels::cuda
