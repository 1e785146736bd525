#include "plan/parameters.h"

#include <algorithm>

namespace ttt {
namespace {

// Taps and bias of a depthwise convolution.
std::int64_t conv_parameters(std::int64_t channels) {
  return channels * (kConvTaps + 1);
}

bool is_ttt(MixerKind kind) {
  return kind == MixerKind::kTttLinear || kind == MixerKind::kTttMlp;
}

std::int64_t mixer_parameters(const ModelConfig& m, MixerKind kind) {
  const auto D = m.hidden_size, H = m.num_heads;
  if (kind == MixerKind::kAttention) return 4 * D * D;
  if (kind == MixerKind::kMamba) {
    const auto E = m.mamba_channels(), R = m.mamba_dt_rank(), N = kMambaStates;
    const auto in_proj = D * 2 * E, x_proj = E * (R + 2 * N), dt_proj = R * E + E, out_proj = E * D;
    return in_proj + conv_parameters(E) + x_proj + dt_proj + E * N /* A */ + E /* D */ + out_proj;
  }
  // Q (or the shared QK and the gate, or Q and K), V, O; post norm; the inner norm; inner learning rate; delta.
  const std::int64_t ttt =
      4 * D * D + 2 * D + 2 * D + H * D + H + m.mini_batch_size + H * fast_weights_per_head(m, kind);
  return m.backbone == Backbone::kMamba ? ttt + 2 * conv_parameters(D) : ttt;
}

// fp32 numbers of a layer's state beside the pre_conv window.
std::int64_t state_numbers(const ModelConfig& m, MixerKind kind, std::int64_t position) {
  const auto D = m.hidden_size, H = m.num_heads, K = m.head_dim(), C = m.mini_batch_size;
  switch (kind) {
    case MixerKind::kAttention:
      return 2 * D * (m.attention_window > 0 ? std::min(position, m.attention_window) : position);
    case MixerKind::kMamba:
      return m.mamba_channels() * (kMambaStates + kConvTaps - 1);
    case MixerKind::kTttLinear:
    case MixerKind::kTttMlp: {
      // W and b, and of the open mini-batch K and G (TTT-MLP: K, X2, G1, G2) and sigma.
      const std::int64_t rows = kind == MixerKind::kTttLinear ? 2 * K : 2 * K + 2 * 4 * K;
      const std::int64_t window = m.backbone == Backbone::kMamba ? (kConvTaps - 1) * D : 0;
      return H * (fast_weights_per_head(m, kind) + C * rows + C) + window;
    }
  }
  return 0;
}

}  // namespace

std::int64_t fast_weights_per_head(const ModelConfig& m, MixerKind kind) {
  const std::int64_t K = m.head_dim(), M = 4 * K;
  if (!is_ttt(kind)) return 0;
  return kind == MixerKind::kTttLinear ? K * K + K : 2 * K * M + M + K;
}

ParameterCount count_parameters(const ModelConfig& m) {
  const std::int64_t D = m.hidden_size;
  ParameterCount count;
  count.embedding = m.vocab_size * D * (m.tie_embeddings ? 1 : 2);
  count.total = count.embedding + D;  // the final norm
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) {
    const MixerKind kind = m.mixer.of_layer(layer);
    count.total += D + mixer_parameters(m, kind);
    if (m.pre_conv) count.total += D + conv_parameters(D);
    if (m.has_mlp()) count.total += D + 3 * D * m.intermediate_size;
    const std::int64_t fast = m.num_heads * fast_weights_per_head(m, kind);
    count.fast_weights += fast;
    count.inner_state += kind == MixerKind::kMamba ? m.mamba_channels() * kMambaStates : fast;
  }
  return count;
}

std::int64_t decoding_state_bytes(const ModelConfig& m, std::int64_t position) {
  std::int64_t numbers = 0;
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) {
    numbers += state_numbers(m, m.mixer.of_layer(layer), position);
    if (m.pre_conv) numbers += (kConvTaps - 1) * m.hidden_size;
  }
  return 4 * numbers;
}

}  // namespace ttt
