// What every TTT kernel is handed: sizes and raw pointers, no tensor library (arXiv 2407.04620).
//
// Shapes: B batch, H heads, T time, K head size, C mini-batch. Row-major, contiguous.
#pragma once

#include <cstdint>
#include <vector>

namespace ttt::kernels {

inline constexpr double kLayerNormEps = 1e-6;  // of the inner LayerNorms

struct TttSizes {
  std::int64_t batch = 0;
  std::int64_t heads = 0;
  std::int64_t time = 0;
  std::int64_t head_dim = 0;
  std::int64_t mini_batch = 0;
};

// How the inner net learns and is read (section 2.7 of the paper: f(x) = x + LN(f_res(x))). The defaults are the
// paper's.
struct TttLearner {
  bool layer_norm = true;  // y = LN(net(x)), else y = net(x); the inner loss is 1/2 ||y - target||^2
  bool residual = true;    // O = Q + y and target = V - K, else O = y and target = V
  bool operator==(const TttLearner&) const = default;
};

// One layer x W + b of the inner net, for every head.
template <class T>
struct TttLayerPointers {
  T* w = nullptr;  // [H,in,out]
  T* b = nullptr;  // [H,out]
  std::int64_t in = 0, out = 0;
};

// The op's tensors, T = const float / const double for values, float / double for their gradients.
template <class T>
struct TttPointers {
  T* q = nullptr;                                // [B,H,T,K]
  T* k = nullptr;                                // [B,H,T,K]
  T* v = nullptr;                                // [B,H,T,K]
  T* sigma = nullptr;                            // [B,H,T]  inner learning rate of each token (key column)
  T* scale = nullptr;                            // [C]      factor of each position of a mini-batch (query row)
  T* gain = nullptr;                             // [H,K]    inner LayerNorm
  T* bias = nullptr;                             // [H,K]
  std::vector<TttLayerPointers<T>> layers = {};  // the first takes K columns, the last gives K
};

}  // namespace ttt::kernels
