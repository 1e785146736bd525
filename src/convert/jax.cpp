#include "convert/jax.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <map>

#include "arch/mixer.h"
#include "arch/model_parameters.h"
#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace ttt {
namespace {

// How they keep a parameter, by what it does: products as x W, one column a head, convolutions with the taps first.
JaxLayout layout_of(const Parameter& parameter) {
  switch (parameter.role) {
    case Role::kDense:
      return parameter.shape.size() == 2 ? JaxLayout::kTransposed : JaxLayout::kHeadColumns;
    case Role::kConvolution:
      return JaxLayout::kConvolution;
    default:
      return JaxLayout::kSame;
  }
}

}  // namespace

std::vector<JaxName> jax_names(const ModelConfig& config) {
  const MixerDeclaration* mixer = only_mixer(config);
  if (mixer == nullptr || !mixer->is_in_jax()) {
    std::string known;
    for (const MixerDeclaration* other : all_mixers())
      if (other->is_in_jax()) known += cat(known.empty() ? "" : ", ", other->name());
    user_error("the official JAX code has no model with model.mixer ", to_string(config.mixer), "; convert models of ",
               known, " from it");
  }
  if (const std::string settings = mixer->not_in_jax(config); !settings.empty()) {
    user_error("the official JAX code has no ", to_string(config.mixer), " with ", settings,
               "; leave that out of the config to convert a model of its own");
  }
  std::vector<JaxName> names;
  for (const Parameter& parameter : model_parameters(config)) {
    TTT_CHECK(!parameter.jax_name.empty(), parameter.name, " has no name in the official JAX code");
    names.push_back({parameter.name, parameter.jax_name, layout_of(parameter)});
  }
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
