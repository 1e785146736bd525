// What every kernel of the gated delta rule is handed: sizes and raw pointers, no tensor library (arXiv 2412.06464).
//
// Shapes: B batch, H heads, T time, K the keys' head size, V the values'. Row-major, contiguous.
#pragma once

#include <cstdint>

namespace ttt::kernels {

inline constexpr double kQkNormEps = 1e-6;  // of the L2 norms of q and k

struct GatedDeltaSizes {
  std::int64_t batch = 0;
  std::int64_t heads = 0;
  std::int64_t time = 0;
  std::int64_t key_dim = 0;
  std::int64_t value_dim = 0;
};

// The op's tensors, T = const float / const double for values, float / double for their gradients.
template <class T>
struct GatedDeltaPointers {
  T* q = nullptr;     // [B,H,T,K]
  T* k = nullptr;     // [B,H,T,K]
  T* v = nullptr;     // [B,H,T,V]
  T* g = nullptr;     // [B,H,T]  log of the decay, <= 0
  T* beta = nullptr;  // [B,H,T]
};

}  // namespace ttt::kernels
