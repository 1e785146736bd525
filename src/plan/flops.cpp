#include "plan/flops.h"

#include <algorithm>

#include "arch/mixer.h"
#include "arch/model_parameters.h"
#include "plan/parameters.h"

namespace ttt {
namespace {

// Keys that a query sees on average: all before it and itself, or the window's.
double visible_keys(const ModelConfig& m, double context) {
  const double window =
      m.attention_window > 0 ? std::min<double>(static_cast<double>(m.attention_window), context) : context;
  return (window * (window + 1) / 2 + (context - window) * window) / context;
}

// Operations of what a block multiplies by parameters.
struct Products {
  double dense = 0, convolutions = 0, pre_conv = 0;
};
Products products_of(const ModelConfig& m, std::int64_t layer) {
  Products sum;
  for (const Parameter& parameter : block_parameters(m, layer)) {
    const double operations = 2 * static_cast<double>(parameter.numel());
    if (parameter.role == Role::kDense) sum.dense += operations;
    if (parameter.role == Role::kConvolution)
      (parameter.name.starts_with("mixer.") ? sum.convolutions : sum.pre_conv) += operations;
  }
  return sum;
}

const MixerDeclaration& mixer_of(const ModelConfig& m, std::int64_t layer) {
  return declaration_of(m.mixer.of_layer(layer));
}

double blocks(const ModelConfig& m, std::int64_t context) {
  const double keys = visible_keys(m, static_cast<double>(context));
  double sum = 0;
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) {
    const Products products = products_of(m, layer);
    sum += products.dense + products.convolutions + products.pre_conv + mixer_of(m, layer).op_flops(m, keys);
  }
  return sum;
}

double head(const ModelConfig& m) {
  return 2 * static_cast<double>(m.vocab_size) * static_cast<double>(m.hidden_size);
}

double chinchilla(const ModelConfig& m, std::int64_t context) {
  const auto T = static_cast<double>(context);
  double sum = 2 * head(m);  // the embedding, counted as a product, and the logits
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) {
    const Products products = products_of(m, layer);
    const MixerDeclaration& mixer = mixer_of(m, layer);
    sum += products.dense + products.convolutions + mixer.op_flops(m, T) + mixer.softmax_flops(m, T);
  }
  return sum;
}

}  // namespace

double inner_loop_flops(MixerKind kind, std::int64_t head_dim, std::int64_t mini_batch, std::int64_t steps) {
  return declaration_of(kind).inner_loop_flops(head_dim, mini_batch, steps);
}

Flops forward_flops(const ModelConfig& m, std::int64_t context) {
  const ParameterCount count = count_parameters(m);
  const std::int64_t untied = m.tie_embeddings ? 0 : m.vocab_size * m.hidden_size;
  return {2 * static_cast<double>(count.total - untied), chinchilla(m, context), blocks(m, context) + head(m)};
}

double dense_flops(const ModelConfig& m) {
  double sum = head(m);
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) sum += products_of(m, layer).dense;
  return sum;
}

double recompute_flops(const ModelConfig& m, std::int64_t context, bool whole_blocks) {
  double sum = head(m) + (whole_blocks ? blocks(m, context) : 0);
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) sum += mixer_of(m, layer).recomputed_flops(m);
  return sum;
}

}  // namespace ttt
