#include "convert/jax.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <map>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace ttt {
namespace {

struct Part {
  const char *ours, *jax;
  JaxLayout layout = JaxLayout::kSame;
};

using enum JaxLayout;

const std::vector<Part> kEveryBlock = {{"mixer_norm.weight", "seq_norm/kernel"},
                                       {"mixer.q_proj.weight", "seq_modeling_block/wq/kernel", kTransposed},
                                       {"mixer.v_proj.weight", "seq_modeling_block/wv/kernel", kTransposed},
                                       {"mixer.o_proj.weight", "seq_modeling_block/wo/kernel", kTransposed},
                                       {"mlp_norm.weight", "ffn_norm/kernel"},
                                       {"mlp.gate_proj.weight", "feed_forward/w1/kernel", kTransposed},
                                       {"mlp.up_proj.weight", "feed_forward/w3/kernel", kTransposed},
                                       {"mlp.down_proj.weight", "feed_forward/w2/kernel", kTransposed}};
const std::vector<Part> kKeys = {{"mixer.k_proj.weight", "seq_modeling_block/wk/kernel", kTransposed}};
const std::vector<Part> kPreConv = {{"pre_conv.norm.weight", "conv/conv_norm/kernel"},
                                    {"pre_conv.conv.weight", "conv/conv1/kernel", kConvolution},
                                    {"pre_conv.conv.bias", "conv/conv1/bias"}};
const std::vector<Part> kMambaBackbone = {{"mixer.gate_proj.weight", "seq_modeling_block/wg/kernel", kTransposed},
                                          {"mixer.conv_q.weight", "seq_modeling_block/conv_q/kernel", kConvolution},
                                          {"mixer.conv_q.bias", "seq_modeling_block/conv_q/bias"},
                                          {"mixer.conv_k.weight", "seq_modeling_block/conv_k/kernel", kConvolution},
                                          {"mixer.conv_k.bias", "seq_modeling_block/conv_k/bias"}};
const std::vector<Part> kTtt = {{"mixer.post_norm.weight", "seq_modeling_block/post_norm/scale"},
                                {"mixer.post_norm.bias", "seq_modeling_block/post_norm/bias"},
                                {"mixer.ttt_norm_weight", "seq_modeling_block/ttt_norm/scale"},
                                {"mixer.ttt_norm_bias", "seq_modeling_block/ttt_norm/bias"},
                                {"mixer.lr_weight", "seq_modeling_block/learnable_ttt_lr/kernel", kHeadColumns},
                                {"mixer.lr_bias", "seq_modeling_block/learnable_ttt_lr/bias"},
                                {"mixer.token_scale_delta", "seq_modeling_block/learnable_token_idx"},
                                {"mixer.w1", "seq_modeling_block/ttt_dense_0"},
                                {"mixer.b1", "seq_modeling_block/ttt_bias_0"}};
const std::vector<Part> kTttMlp = {{"mixer.w2", "seq_modeling_block/ttt_dense_1"},
                                   {"mixer.b2", "seq_modeling_block/ttt_bias_1"}};

}  // namespace

std::vector<JaxName> jax_names(const ModelConfig& config) {
  if (config.mixer.is_hybrid() || config.is_pure_mamba())
    user_error("the official JAX code has no model with model.mixer ", to_string(config.mixer),
               "; convert attention, ttt_linear and ttt_mlp models from it");
  std::vector<const std::vector<Part>*> parts = {&kEveryBlock};
  if (config.pre_conv) parts.push_back(&kPreConv);
  const bool mamba_backbone = config.has_ttt() && config.backbone == Backbone::kMamba;
  parts.push_back(mamba_backbone ? &kMambaBackbone : &kKeys);
  if (config.has_ttt()) parts.push_back(&kTtt);
  if (config.mixer.contains(MixerKind::kTttMlp)) parts.push_back(&kTttMlp);

  std::vector<JaxName> names = {{"embedding.weight", "model/wte/embedding", kSame}};
  for (std::int64_t i = 0; i < config.num_layers; ++i)
    for (const auto* part : parts)
      for (const Part& entry : *part)
        names.push_back({cat("layers.", i, ".", entry.ours), cat("model/h/", i, "/", entry.jax), entry.layout});
  names.push_back({"final_norm.weight", "model/ln_f/kernel", kSame});
  if (!config.tie_embeddings) names.push_back({"lm_head.weight", "lm_head/kernel", kTransposed});
  return names;
}

at::Tensor from_jax_layout(const at::Tensor& tensor, JaxLayout layout) {
  switch (layout) {
    case JaxLayout::kSame:
      return tensor;
    case JaxLayout::kTransposed:
      return tensor.dim() == 2 ? tensor.t() : tensor;
    case JaxLayout::kConvolution:
      return tensor.dim() == 3 ? tensor.permute({2, 1, 0}) : tensor;
    case JaxLayout::kHeadColumns:
      return tensor.dim() == 3 ? tensor.transpose(1, 2) : tensor;
  }
  fail("unknown layout");
}

std::vector<std::pair<std::string, at::Tensor>> parameters_from_jax(
    const std::vector<std::pair<std::string, at::Tensor>>& tensors, const ModelConfig& config,
    const std::string& source) {
  const std::string prefix = "param/";
  bool prefixed = false;
  for (const auto& [name, tensor] : tensors) prefixed |= name.starts_with(prefix);
  std::map<std::string, at::Tensor> in_file;
  for (const auto& [name, tensor] : tensors) {
    if (prefixed && name.starts_with(prefix)) in_file.emplace(name.substr(prefix.size()), tensor);
    if (!prefixed) in_file.emplace(name, tensor);
  }
  std::vector<std::pair<std::string, at::Tensor>> parameters;
  for (const JaxName& name : jax_names(config)) {
    const auto found = in_file.find(name.jax);
    if (found == in_file.end())
      user_error(source, ": the tensor '", name.jax, "' (", name.parameter,
                 ") is missing; the file does not hold the model that the config describes");
    parameters.emplace_back(name.parameter, from_jax_layout(found->second, name.layout));
    in_file.erase(found);
  }
  if (!in_file.empty())
    user_error(
        source, ": the tensor '", in_file.begin()->first,
        "' belongs to no parameter of the model that the config describes; check the section model: against the file");
  return parameters;
}

void load_jax_parameters(LanguageModel& model, const std::string& path) {
  const torch::NoGradGuard no_grad;
  const SafetensorsFile file = read_safetensors(path);
  const auto named = parameters_from_jax({file.tensors.begin(), file.tensors.end()}, model.config(), path);
  const auto parameters = model.named_parameters();
  for (const auto& [name, tensor] : named) {
    if (tensor.sizes() != parameters[name].sizes())
      user_error(path, ": the tensor for ", name, " has the shape ", tensor.sizes(),
                 " (in this program's layout) but the config asks for ", parameters[name].sizes(),
                 "; check the section model: against the file");
    if (!tensor.is_floating_point())
      user_error(path, ": the tensor for ", name, " holds integers where weights are expected");
  }
  for (const auto& [name, tensor] : named) parameters[name].copy_(tensor);
}

}  // namespace ttt
