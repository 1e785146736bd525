// What the CUDA kernel of decoding with the TTT op is handed. Equations: ../reference/ttt_reference.h.
#pragma once

#include "kernels/cuda/ttt_args.h"

namespace ttt::kernels::cuda {

inline constexpr int kMostHeadDim = 128;   // K; a multiple of 8
inline constexpr int kMostHidden = 1024;   // M of TTT-MLP; a multiple of 8
inline constexpr int kMostMiniBatch = 64;  // C

// T further tokens, from and to any place inside a mini-batch. The state of decoding (ops/ttt.h) is updated in place;
// the caller then sets its num_open to (num_open + T) % C. It is fp32 and contiguous; it, gain and bias begin at a
// multiple of 16 bytes. q, k and v may lie anywhere.
template <class Element>
struct TttDecode {
  TttInputs<Element> in;
  int mini_batch = 0;  // C
  int hidden = 0;      // M; 0 for TTT-Linear
  int num_open = 0;    // tokens in the open mini-batch before the call, in [0, C)
  HeadRows<Element> o;
  // Weights as of the last finished mini-batch; M stands for K in TTT-Linear, which has no w2, b2, x2, g2.
  float* w1 = nullptr;  // [B*H,K,M]
  float* b1 = nullptr;  // [B*H,M]
  float* w2 = nullptr;  // [B*H,M,K]
  float* b2 = nullptr;  // [B*H,K]
  // Rows of the open mini-batch; those from num_open on are not read.
  float* k = nullptr;      // [B*H,C,K]
  float* g1 = nullptr;     // [B*H,C,M]
  float* x2 = nullptr;     // [B*H,C,M]
  float* g2 = nullptr;     // [B*H,C,K]
  float* sigma = nullptr;  // [B*H,C]

  std::string shape() const {
    return cat(in.shape(), ", mini-batches of ", mini_batch, " of which ", num_open, " are open, hidden width ",
               hidden);
  }
};

}  // namespace ttt::kernels::cuda
