#include "plan/parameters.h"

#include "arch/mixer.h"
#include "arch/model_parameters.h"

namespace ttt {

ParameterCount count_parameters(const ModelConfig& m) {
  ParameterCount count;
  count.embedding = m.vocab_size * m.hidden_size * (m.tie_embeddings ? 1 : 2);
  for (const Parameter& parameter : model_parameters(m)) {
    count.total += parameter.numel();
    if (parameter.role == Role::kFastWeight) count.fast_weights += parameter.numel();
  }
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer)
    count.inner_state += declaration_of(m.mixer.of_layer(layer)).recurrent_numbers(m);
  return count;
}

std::int64_t decoding_state_bytes(const ModelConfig& m, std::int64_t position) {
  std::int64_t numbers = 0;
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) {
    numbers += declaration_of(m.mixer.of_layer(layer)).state_numbers(m, position);
    if (m.pre_conv) numbers += (kConvTaps - 1) * m.hidden_size;
  }
  return 4 * numbers;
}

}  // namespace ttt
