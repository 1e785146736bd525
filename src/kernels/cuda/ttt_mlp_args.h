// What the CUDA kernels of TTT-MLP are handed beside ttt_args.h. M = 4 K.
#pragma once

#include "kernels/cuda/ttt_args.h"

namespace ttt::kernels::cuda {

// Whether a pass keeps fast weights on the multiprocessor: forward all of them, in registers; backward W2, which is
// used most, in shared memory. The others and the backward pass's gradients are in scratch memory.
template <class Element>
constexpr bool ttt_mlp_on_chip(int head_dim) {
  return sizeof(Element) == 2 && head_dim == 64;
}
// Floats of scratch memory of a block; what it holds before and after has no meaning.
template <class Element>
constexpr std::int64_t ttt_mlp_forward_scratch(int head_dim) {
  return ttt_mlp_on_chip<Element>(head_dim) ? 0 : 8 * head_dim * head_dim;
}
template <class Element>
constexpr std::int64_t ttt_mlp_backward_scratch(int head_dim) {
  return 16 * head_dim * head_dim + 8 * kMiniBatch * 4 * head_dim * static_cast<int>(sizeof(Element)) / 4;
}

// Fast weights: [K,M], [M], [M,K], [K], of every head or of every p.
template <class T>
struct TttMlpWeights {
  T* w1 = nullptr;
  T* b1 = nullptr;
  T* w2 = nullptr;
  T* b2 = nullptr;
};

template <class Element>
struct TttMlpForward {
  TttInputs<Element> in;
  TttMlpWeights<const float> w;  // [H,...]; with own_start [B*H,...]
  bool own_start = false;        // every sequence starts from weights of its own: the prefill of a longer one
  HeadRows<Element> o;
  // As of after the last whole mini-batch, of p; null: not wanted.
  TttMlpWeights<float> end;
  // For the backward pass; null: not wanted.
  Element* g2 = nullptr;  // [B*H,T,K]  G2 as the products took it
  Element* z1 = nullptr;  // [B*H,mini-batches,C*M]  Z1 as the kernels hold it, mini-batches = ceil(T / C)
  // The weights after every `segment` mini-batches and after the last whole one, each w1, b1, w2 and then b2: [B*H,
  // segments, 2 K*M + M + K], segments = ceil(whole mini-batches / segment). null: not wanted.
  float* states = nullptr;
  std::int64_t segment = 1;
  float* scratch = nullptr;  // [B*H,ttt_mlp_forward_scratch], aligned to 16 bytes

  std::string shape() const { return in.shape(); }
};

template <class Element>
struct TttMlpBackward {
  TttInputs<Element> in;
  HeadRows<const Element> d_o;
  // Of the forward pass.
  TttMlpWeights<const float> w;  // [H,...], the initial ones where no mini-batch is whole
  const Element* g2 = nullptr;
  const Element* z1 = nullptr;
  const float* states = nullptr;
  std::int64_t segment = 1;
  // The gradients; those of p are summed over the sequences by the caller, always in the same order.
  HeadRows<Element> dq, dk, dv;
  float* dsigma = nullptr;   // [B*H,T]
  float* dscale = nullptr;   // of p [C]
  float* dgain = nullptr;    // of p [K]
  float* dbias = nullptr;    // of p [K]
  TttMlpWeights<float> dw;   // of p
  float* scratch = nullptr;  // [B*H,ttt_mlp_backward_scratch], aligned to 16 bytes

  std::string shape() const { return in.shape(); }
};

}  // namespace ttt::kernels::cuda
