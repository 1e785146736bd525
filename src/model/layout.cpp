#include "model/layout.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <map>

#include "base/error.h"

namespace ttt {
namespace {

using NamedTensorList = std::vector<std::pair<std::string, torch::Tensor>>;

// Rows of one head: interleaved pairs (0,1),(2,3).. <-> halves (i, i + K/2). [H*K, D] -> [H*K, D].
torch::Tensor to_half_split(const torch::Tensor& weight, std::int64_t heads) {
  const auto K = weight.size(0) / heads;
  return weight.view({heads, K / 2, 2, -1}).transpose(1, 2).reshape(weight.sizes());
}
torch::Tensor to_interleaved(const torch::Tensor& weight, std::int64_t heads) {
  const auto K = weight.size(0) / heads;
  return weight.view({heads, 2, K / 2, -1}).transpose(1, 2).reshape(weight.sizes());
}

// The parts of a block's names: (ours, the file's, rotated by RoPE).
struct Name {
  const char *ours, *file;
  bool rope = false;
};

const std::vector<Name> kMlp = {{"mlp.gate_proj.weight", "mlp.gate_proj.weight"},
                                {"mlp.up_proj.weight", "mlp.up_proj.weight"},
                                {"mlp.down_proj.weight", "mlp.down_proj.weight"}};
const std::vector<Name> kAttention = {
    {"mixer_norm.weight", "input_layernorm.weight"},          {"mixer.q_proj.weight", "self_attn.q_proj.weight", true},
    {"mixer.k_proj.weight", "self_attn.k_proj.weight", true}, {"mixer.v_proj.weight", "self_attn.v_proj.weight"},
    {"mixer.o_proj.weight", "self_attn.o_proj.weight"},       {"mlp_norm.weight", "post_attention_layernorm.weight"}};
const std::vector<Name> kTtt = {{"mixer_norm.weight", "seq_norm.weight"},
                                {"mixer.q_proj.weight", "seq_modeling_block.q_proj.weight"},
                                {"mixer.v_proj.weight", "seq_modeling_block.v_proj.weight"},
                                {"mixer.o_proj.weight", "seq_modeling_block.o_proj.weight"},
                                {"mixer.post_norm.weight", "seq_modeling_block.post_norm.weight"},
                                {"mixer.post_norm.bias", "seq_modeling_block.post_norm.bias"},
                                {"mixer.ttt_norm_weight", "seq_modeling_block.ttt_norm_weight"},
                                {"mixer.ttt_norm_bias", "seq_modeling_block.ttt_norm_bias"},
                                {"mixer.lr_weight", "seq_modeling_block.learnable_ttt_lr_weight"},
                                {"mixer.lr_bias", "seq_modeling_block.learnable_ttt_lr_bias"},
                                {"mixer.token_scale_delta", "seq_modeling_block.learnable_token_idx"},
                                {"mixer.w1", "seq_modeling_block.W1"},
                                {"mixer.b1", "seq_modeling_block.b1"},
                                {"mlp_norm.weight", "ffn_norm.weight"}};
const std::vector<Name> kTttMlp = {{"mixer.w2", "seq_modeling_block.W2"}, {"mixer.b2", "seq_modeling_block.b2"}};
const std::vector<Name> kTransformerBackbone = {{"mixer.k_proj.weight", "seq_modeling_block.k_proj.weight"}};
const std::vector<Name> kMambaBackbone = {{"mixer.gate_proj.weight", "seq_modeling_block.g_proj.weight"},
                                          {"mixer.conv_q.weight", "seq_modeling_block.conv_q.weight"},
                                          {"mixer.conv_q.bias", "seq_modeling_block.conv_q.bias"},
                                          {"mixer.conv_k.weight", "seq_modeling_block.conv_k.weight"},
                                          {"mixer.conv_k.bias", "seq_modeling_block.conv_k.bias"}};
const std::vector<Name> kMambaMixer = {{"mixer_norm.weight", "norm.weight"},
                                       {"mixer.in_proj.weight", "mixer.in_proj.weight"},
                                       {"mixer.conv.weight", "mixer.conv1d.weight"},
                                       {"mixer.conv.bias", "mixer.conv1d.bias"},
                                       {"mixer.x_proj.weight", "mixer.x_proj.weight"},
                                       {"mixer.dt_proj.weight", "mixer.dt_proj.weight"},
                                       {"mixer.dt_proj.bias", "mixer.dt_proj.bias"},
                                       {"mixer.A_log", "mixer.A_log"},
                                       {"mixer.D", "mixer.D"},
                                       {"mixer.out_proj.weight", "mixer.out_proj.weight"}};
const std::vector<Name> kMambaMlpNorm = {{"mlp_norm.weight", "ffn_norm.weight"}};
const std::vector<Name> kPreConv = {{"pre_conv.norm.weight", "conv.norm.weight"},
                                    {"pre_conv.conv.weight", "conv.conv.weight"},
                                    {"pre_conv.conv.bias", "conv.conv.bias"}};

std::vector<const std::vector<Name>*> parts_of_layer(const ModelConfig& config, MixerKind kind) {
  std::vector<const std::vector<Name>*> parts;
  if (config.pre_conv) parts.push_back(&kPreConv);
  switch (kind) {
    case MixerKind::kAttention:
      parts.push_back(&kAttention);
      break;
    case MixerKind::kTttLinear:
    case MixerKind::kTttMlp:
      parts.push_back(&kTtt);
      if (kind == MixerKind::kTttMlp) parts.push_back(&kTttMlp);
      parts.push_back(config.backbone == Backbone::kMamba ? &kMambaBackbone : &kTransformerBackbone);
      break;
    case MixerKind::kMamba:
      parts.push_back(&kMambaMixer);
      if (config.has_mlp()) parts.push_back(&kMambaMlpNorm);
      break;
  }
  if (config.has_mlp()) parts.push_back(&kMlp);
  return parts;
}

NamedTensorList parameters_of(const LanguageModel& model) {
  NamedTensorList list;
  for (const auto& parameter : model.named_parameters()) list.emplace_back(parameter.key(), parameter.value());
  return list;
}

}  // namespace

std::vector<LayoutEntry> checkpoint_layout(const ModelConfig& config) {
  const bool mamba = config.is_pure_mamba();  // whose model calls its parts otherwise
  const std::string root = mamba ? "backbone." : "model.";
  std::vector<LayoutEntry> layout = {
      {"embedding.weight", root + (mamba ? "embeddings.weight" : "embed_tokens.weight"), 0}};
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    const std::string ours = cat("layers.", i, "."), file = cat(root, "layers.", i, ".");
    for (const auto* part : parts_of_layer(config, config.mixer.of_layer(i)))
      for (const Name& name : *part)
        layout.push_back({ours + name.ours, file + name.file, name.rope ? config.num_heads : 0});
  }
  layout.push_back({"final_norm.weight", root + (mamba ? "norm_f.weight" : "norm.weight"), 0});
  if (!config.tie_embeddings) layout.push_back({"lm_head.weight", "lm_head.weight", 0});
  return layout;
}

NamedTensorList to_file_layout(const ModelConfig& config, const NamedTensorList& by_parameter) {
  const torch::NoGradGuard no_grad;
  const std::map<std::string, torch::Tensor> by_name(by_parameter.begin(), by_parameter.end());
  NamedTensorList file_tensors;
  for (const LayoutEntry& entry : checkpoint_layout(config)) {
    const auto found = by_name.find(entry.parameter);
    TTT_CHECK(found != by_name.end(), "no tensor for parameter ", entry.parameter);
    torch::Tensor tensor = found->second.detach().to(torch::kCPU, torch::kFloat);
    if (entry.rope_heads > 0) tensor = to_half_split(tensor, entry.rope_heads);
    if (tensor.is_alias_of(found->second)) tensor = tensor.clone();
    file_tensors.emplace_back(entry.file_name, tensor.contiguous());
  }
  return file_tensors;
}

NamedTensorList export_parameters(const LanguageModel& model) {
  return to_file_layout(model.config(), parameters_of(model));
}

void import_parameters(LanguageModel& model, const NamedTensorList& file_tensors, const std::string& source) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, torch::Tensor> in_file(file_tensors.begin(), file_tensors.end());
  const auto parameters = model.named_parameters();
  // Everything is checked before anything is copied: a refused file leaves the model as it was.
  std::vector<std::pair<torch::Tensor, torch::Tensor>> copies;
  for (const LayoutEntry& entry : checkpoint_layout(model.config())) {
    const auto found = in_file.find(entry.file_name);
    if (found == in_file.end())
      user_error(source, ": the tensor '", entry.file_name,
                 "' is missing; the file does not hold the model that the config describes");
    const torch::Tensor& parameter = parameters[entry.parameter];
    if (found->second.sizes() != parameter.sizes())
      user_error(source, ": the tensor '", entry.file_name, "' has the shape ", found->second.sizes(),
                 " but the config asks for ", parameter.sizes(), "; check the section model: against the file");
    if (!found->second.is_floating_point())
      user_error(source, ": the tensor '", entry.file_name, "' holds integers where weights are expected");
    const torch::Tensor weight = found->second.contiguous();
    copies.emplace_back(parameter, entry.rope_heads > 0 ? to_interleaved(weight, entry.rope_heads) : weight);
    in_file.erase(found);
  }
  // Old versions of transformers wrote RoPE's frequencies, which follow from the config, beside the weights.
  std::erase_if(in_file, [](const auto& tensor) { return tensor.first.ends_with("rotary_emb.inv_freq"); });
  // Tools write a tied head twice or once; twice is fine when it is the same.
  if (model.config().tie_embeddings && in_file.count("lm_head.weight") != 0 &&
      in_file["lm_head.weight"].sizes() == copies.front().second.sizes() &&
      torch::equal(in_file["lm_head.weight"], copies.front().second))
    in_file.erase("lm_head.weight");
  if (!in_file.empty())
    user_error(
        source, ": the tensor '", in_file.begin()->first,
        "' belongs to no parameter of the model that the config describes; check the section model: against the file");
  for (auto& [parameter, value] : copies) parameter.copy_(value);
}

}  // namespace ttt
