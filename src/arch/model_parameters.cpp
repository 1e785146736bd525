#include "arch/model_parameters.h"

#include <utility>

#include "arch/mixer.h"
#include "base/error.h"

namespace ttt {
namespace {

// A causal convolution of RMSNorm(x), before the mixer.
Parameters pre_conv_parameters(std::int64_t D) {
  return {norm_gain("pre_conv.norm", D).in_file("conv.norm.weight").in_jax("conv/conv_norm/kernel"),
          convolution("pre_conv.conv", D).in_file("conv.conv.weight").in_jax("conv/conv1/kernel"),
          convolution_bias("pre_conv.conv", D).in_file("conv.conv.bias").in_jax("conv/conv1/bias")};
}

// SwiGLU.
Parameters mlp_parameters(std::int64_t D, std::int64_t hidden) {
  return {dense("mlp.gate_proj", hidden, D).in_jax("feed_forward/w1/kernel"),
          dense("mlp.up_proj", hidden, D).in_jax("feed_forward/w3/kernel"),
          dense("mlp.down_proj", D, hidden).in_jax("feed_forward/w2/kernel")};
}

// One more, below a part of the model with names of its own.
void add(Parameters& all, Parameter parameter, const std::string& ours, const std::string& file,
         const std::string& jax) {
  parameter.name = ours + parameter.name;
  parameter.file_name = file + parameter.file_name;
  if (!parameter.jax_name.empty()) parameter.jax_name = jax + parameter.jax_name;
  all.push_back(std::move(parameter));
}

}  // namespace

Parameters block_parameters(const ModelConfig& config, std::int64_t layer) {
  const std::int64_t D = config.hidden_size;
  const MixerDeclaration& mixer = declaration_of(config.mixer.of_layer(layer));
  Parameters all;
  if (config.pre_conv) all = pre_conv_parameters(D);
  all.push_back(norm_gain("mixer_norm", D).in_file(mixer.mixer_norm_file_name()).in_jax("seq_norm/kernel"));
  for (Parameter& parameter : mixer.parameters(config))
    add(all, std::move(parameter), "mixer.", mixer.file_prefix(), "seq_modeling_block/");
  if (!config.has_mlp()) return all;
  all.push_back(norm_gain("mlp_norm", D).in_file(mixer.mlp_norm_file_name()).in_jax("ffn_norm/kernel"));
  for (Parameter& parameter : mlp_parameters(D, config.intermediate_size)) all.push_back(std::move(parameter));
  return all;
}

Parameters model_parameters(const ModelConfig& config) {
  const std::int64_t V = config.vocab_size, D = config.hidden_size;
  const MixerDeclaration* only = only_mixer(config);
  const FileForm form = only != nullptr ? only->form() : FileForm{};
  const std::string root = form.root;
  Parameters all = {
      other("embedding.weight", {V, D}, {Init::Kind::kNormal, kProjectionStd}, Decay::kMatrix, Role::kEmbedding)
          .in_file(root + form.embedding)
          .in_jax("model/wte/embedding")};
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (Parameter& parameter : block_parameters(config, layer))
      add(all, std::move(parameter), cat("layers.", layer, "."), cat(root, "layers.", layer, "."),
          cat("model/h/", layer, "/"));
  }
  all.push_back(norm_gain("final_norm", D).in_file(root + form.final_norm).in_jax("model/ln_f/kernel"));
  if (!config.tie_embeddings) all.push_back(dense("lm_head", V, D).in_jax("lm_head/kernel"));
  return all;
}

}  // namespace ttt
