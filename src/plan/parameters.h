// Parameters and states of a model, counted from its config without building it.
#pragma once

#include <cstdint>

#include "arch/model_config.h"

namespace ttt {

struct ParameterCount {
  std::int64_t total = 0;
  std::int64_t embedding = 0;     // of the embedding, and of the head where it is not tied
  std::int64_t fast_weights = 0;  // the inner loops' initial weights W0, b0 (TTT), part of total
  std::int64_t inner_state = 0;   // numbers of a sequence's recurrent state: W, b (TTT), h (Mamba); 0: attention

  std::int64_t non_embedding() const { return total - embedding; }
};

// Of what arch/ declares, which LanguageModel registers.
ParameterCount count_parameters(const ModelConfig& config);

// Bytes of the fp32 decoding state of one sequence after `position` tokens: constant for TTT and Mamba, growing by 8 D
// bytes a token and layer for attention (until its window is full).
std::int64_t decoding_state_bytes(const ModelConfig& config, std::int64_t position);

}  // namespace ttt
