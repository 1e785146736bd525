// Mamba's inner sizes (arXiv 2312.00752): d_inner = 2 D channels with 16 states each, steps dt of rank ceil(D / 16).
#pragma once

#include <cstdint>

#include "arch/model_config.h"

namespace ttt {

inline constexpr std::int64_t kMambaStates = 16;
inline std::int64_t mamba_channels(const ModelConfig& m) {
  return 2 * m.hidden_size;
}
inline std::int64_t mamba_dt_rank(const ModelConfig& m) {
  return (m.hidden_size + 15) / 16;
}

}  // namespace ttt
