// What every TTT kernel is handed: sizes and raw pointers, no tensor library (arXiv 2407.04620).
//
// Shapes: B batch, H heads, T time, K head size, M hidden width of TTT-MLP's inner network, C mini-batch. Row-major,
// contiguous.
#pragma once

#include <cstdint>

namespace ttt::kernels {

inline constexpr double kLayerNormEps = 1e-6;  // of the inner LayerNorms

struct TttSizes {
  std::int64_t batch = 0;
  std::int64_t heads = 0;
  std::int64_t time = 0;
  std::int64_t head_dim = 0;
  std::int64_t hidden = 0;  // M; TTT-Linear has none
  std::int64_t mini_batch = 0;
};

// The op's tensors, T = const float / const double for values, float / double for their gradients.
template <class T>
struct TttPointers {
  T* q = nullptr;      // [B,H,T,K]
  T* k = nullptr;      // [B,H,T,K]
  T* v = nullptr;      // [B,H,T,K]
  T* sigma = nullptr;  // [B,H,T]  inner learning rate of each token (key column)
  T* scale = nullptr;  // [C]      factor of each position of a mini-batch (query row)
  T* gain = nullptr;   // [H,K]    inner LayerNorm
  T* bias = nullptr;   // [H,K]
  T* w1 = nullptr;     // [H,K,K]; TTT-MLP: [H,K,M]
  T* b1 = nullptr;     // [H,K];   TTT-MLP: [H,M]
  T* w2 = nullptr;     // TTT-MLP: [H,M,K]
  T* b2 = nullptr;     // TTT-MLP: [H,K]
};

}  // namespace ttt::kernels
