// Gated DeltaNet's inner sizes (arXiv 2412.06464; names and defaults of flash-linear-attention's GatedDeltaNet).
#pragma once

#include <cmath>
#include <cstdint>

#include "arch/model_config.h"

namespace ttt {

inline constexpr int kDeltaNetChunk = 64;  // C: tokens of a chunk, ops/gated_delta.h

// K of queries and keys, V of values: model.head_dim (0: hidden_size / num_heads), and model.expand_v times it.
inline std::int64_t deltanet_key_dim(const ModelConfig& m) {
  return m.head_dim > 0 ? m.head_dim : m.head_size();
}
inline std::int64_t deltanet_value_dim(const ModelConfig& m) {
  return std::llround(m.expand_v * static_cast<double>(deltanet_key_dim(m)));
}

// Operations of the chunked form of a head's delta rule, forward, a token: the state read twice and written in 6 K V;
// inside a chunk, whose products are triangular, K K^T and Q K^T in 2 C K, the solution and the output in 2 C V.
inline double deltanet_flops(std::int64_t key_dim, std::int64_t value_dim) {
  const auto K = static_cast<double>(key_dim), V = static_cast<double>(value_dim), C = double{kDeltaNetChunk};
  return 6 * K * V + 2 * C * (K + V);
}

}  // namespace ttt
