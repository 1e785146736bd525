#include "model/layout.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <map>
#include <utility>

#include "arch/model_parameters.h"
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

NamedTensorList parameters_of(const LanguageModel& model) {
  NamedTensorList list;
  for (const auto& parameter : model.named_parameters()) list.emplace_back(parameter.key(), parameter.value());
  return list;
}

}  // namespace

std::vector<LayoutEntry> checkpoint_layout(const ModelConfig& config) {
  std::vector<LayoutEntry> layout;
  for (Parameter& parameter : model_parameters(config))
    layout.push_back({std::move(parameter.name), std::move(parameter.file_name), parameter.rotary_heads});
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

void import_parameters(LanguageModel& model, NamedTensorList file_tensors, const std::string& source) {
  const torch::NoGradGuard no_grad;
  std::map<std::string, torch::Tensor> in_file(file_tensors.begin(), file_tensors.end());
  file_tensors.clear();
  const auto parameters = model.named_parameters();
  // Everything is checked before anything is copied: a refused file leaves the model as it was.
  struct Copy {
    torch::Tensor parameter, weight;
    std::int64_t rope_heads;
  };
  std::vector<Copy> copies;
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
    copies.push_back({parameter, found->second, entry.rope_heads});
    in_file.erase(found);
  }
  // Old versions of transformers wrote RoPE's frequencies, which follow from the config, beside the weights.
  std::erase_if(in_file, [](const auto& tensor) { return tensor.first.ends_with("rotary_emb.inv_freq"); });
  // Tools write a tied head twice or once; twice is fine when it is the same.
  if (model.config().tie_embeddings && in_file.count("lm_head.weight") != 0 &&
      in_file["lm_head.weight"].sizes() == copies.front().weight.sizes() &&
      torch::equal(in_file["lm_head.weight"], copies.front().weight))
    in_file.erase("lm_head.weight");
  if (!in_file.empty())
    user_error(
        source, ": the tensor '", in_file.begin()->first,
        "' belongs to no parameter of the model that the config describes; check the section model: against the file");
  for (Copy& copy : copies) {
    const torch::Tensor weight = std::move(copy.weight);
    copy.parameter.copy_(copy.rope_heads > 0 ? to_interleaved(weight.contiguous(), copy.rope_heads) : weight);
  }
}

}  // namespace ttt
