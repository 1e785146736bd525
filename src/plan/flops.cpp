#include "plan/flops.h"

#include <algorithm>

#include "plan/parameters.h"

namespace ttt {
namespace {

// Keys that a query sees on average: all before it and itself, or the window's.
double visible_keys(const ModelConfig& m, double context) {
  const double window =
      m.attention_window > 0 ? std::min<double>(static_cast<double>(m.attention_window), context) : context;
  return (window * (window + 1) / 2 + (context - window) * window) / context;
}

double ttt_op(const ModelConfig& m, MixerKind kind) {
  return static_cast<double>(m.num_heads) * inner_loop_flops(kind, m.head_dim(), m.mini_batch_size);
}

// A mixer's linear layers, forward.
double dense_mixer(const ModelConfig& m, MixerKind kind) {
  const auto D = static_cast<double>(m.hidden_size), H = static_cast<double>(m.num_heads);
  switch (kind) {
    case MixerKind::kAttention:
      return 2 * 4 * D * D;
    case MixerKind::kMamba: {
      const auto E = static_cast<double>(m.mamba_channels()), R = static_cast<double>(m.mamba_dt_rank());
      const double N = kMambaStates;
      return 2 * (D * 2 * E + E * (R + 2 * N) + R * E + E * D);
    }
    case MixerKind::kTttLinear:
    case MixerKind::kTttMlp:
      return 2 * (4 * D * D + H * D);
  }
  return 0;
}

// All of a mixer's products, forward; attention over `keys` keys a query.
double mixer(const ModelConfig& m, MixerKind kind, double keys) {
  const auto D = static_cast<double>(m.hidden_size);
  const double dense = dense_mixer(m, kind);
  switch (kind) {
    case MixerKind::kAttention:
      return dense + 2 * 2 * D * keys;
    case MixerKind::kMamba: {
      const auto E = static_cast<double>(m.mamba_channels()), N = static_cast<double>(kMambaStates);
      const double scan = 6 * E * N + 2 * E;  // dt A; dt x B; decay h and add; C h; D x
      return dense + 2 * kConvTaps * E + scan;
    }
    case MixerKind::kTttLinear:
    case MixerKind::kTttMlp: {
      const double convolutions = m.backbone == Backbone::kMamba ? 2 * 2 * kConvTaps * D : 0;
      return dense + convolutions + ttt_op(m, kind);
    }
  }
  return 0;
}

double mlp(const ModelConfig& m) {
  return m.has_mlp() ? 2 * 3 * static_cast<double>(m.hidden_size * m.intermediate_size) : 0;
}

double blocks(const ModelConfig& m, std::int64_t context) {
  const double keys = visible_keys(m, static_cast<double>(context));
  double sum = 0;
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) {
    sum += mixer(m, m.mixer.of_layer(layer), keys) + mlp(m);
    if (m.pre_conv) sum += 2 * kConvTaps * static_cast<double>(m.hidden_size);
  }
  return sum;
}

double head(const ModelConfig& m) {
  return 2 * static_cast<double>(m.vocab_size) * static_cast<double>(m.hidden_size);
}

double chinchilla(const ModelConfig& m, std::int64_t context) {
  const auto T = static_cast<double>(context), H = static_cast<double>(m.num_heads);
  double sum = 2 * head(m);  // the embedding, counted as a product, and the logits
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) {
    const MixerKind kind = m.mixer.of_layer(layer);
    sum += mixer(m, kind, T);
    if (kind == MixerKind::kAttention) sum += 3 * H * T;  // softmax
    sum += mlp(m);
  }
  return sum;
}

}  // namespace

double inner_loop_flops(MixerKind kind, std::int64_t head_dim, std::int64_t mini_batch) {
  const auto K = static_cast<double>(head_dim), C = static_cast<double>(mini_batch);
  if (kind == MixerKind::kTttLinear) return 6 * K * K + 4 * C * K;
  if (kind == MixerKind::kTttMlp) return 56 * K * K + 20 * C * K;
  return 0;
}

Flops forward_flops(const ModelConfig& m, std::int64_t context) {
  const ParameterCount count = count_parameters(m);
  const std::int64_t untied = m.tie_embeddings ? 0 : m.vocab_size * m.hidden_size;
  return {2 * static_cast<double>(count.total - untied), chinchilla(m, context), blocks(m, context) + head(m)};
}

double dense_flops(const ModelConfig& m) {
  double sum = head(m);
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) sum += dense_mixer(m, m.mixer.of_layer(layer)) + mlp(m);
  return sum;
}

double recompute_flops(const ModelConfig& m, std::int64_t context, bool whole_blocks) {
  double sum = head(m) + (whole_blocks ? blocks(m, context) : 0);
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) sum += ttt_op(m, m.mixer.of_layer(layer));
  return sum;
}

}  // namespace ttt
