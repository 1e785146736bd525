// Gated DeltaNet's inner sizes (arXiv 2412.06464; names and defaults of flash-linear-attention's GatedDeltaNet).
#pragma once

#include <cmath>
#include <cstdint>

#include "arch/model_config.h"

namespace ttt {

// K of queries and keys, V of values: model.head_dim (0: hidden_size / num_heads), and model.expand_v times it.
inline std::int64_t deltanet_key_dim(const ModelConfig& m) {
  return m.head_dim > 0 ? m.head_dim : m.head_size();
}
inline std::int64_t deltanet_value_dim(const ModelConfig& m) {
  return std::llround(m.expand_v * static_cast<double>(deltanet_key_dim(m)));
}

}  // namespace ttt
