// Parameters of the official JAX code (ttt-lm-jax), as safetensors with names like
// `model/h/0/seq_modeling_block/wq/kernel` (a leading `param/` is optional), to and from this program's.
// Dense kernels are [in, out] there and [out, in] here; convolutions [width, 1, channels] and [channels, 1, width].
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "arch/model_config.h"
#include "model/language_model.h"

namespace ttt {

// How a tensor's layout differs between the two.
enum class JaxLayout {
  kSame,
  kTransposed /* swaps [in, out] */,
  kConvolution /* [W,1,D] <-> [D,1,W] */,
  kHeadColumns /* [H,D,1] <-> [H,1,D] */
};

struct JaxName {
  std::string parameter;  // "layers.0.mixer.q_proj.weight"
  std::string jax;        // "model/h/0/seq_modeling_block/wq/kernel"
  JaxLayout layout;
};

// One entry a parameter of the model.
std::vector<JaxName> jax_names(const ModelConfig& config);

// A tensor in the official layout (a parameter or its gradient) as this program holds it. A view or the tensor itself.
at::Tensor from_jax_layout(const at::Tensor& tensor, JaxLayout layout);

// (parameter name, tensor) in the order of jax_names. Every tensor of the file that looks like a parameter (all of
// those below `param/` when the file has that prefix) must be used and every parameter filled, else UserError naming
// the tensor.
std::vector<std::pair<std::string, at::Tensor>> parameters_from_jax(
    const std::vector<std::pair<std::string, at::Tensor>>& tensors, const ModelConfig& config,
    const std::string& source);

// Copies a file of the official code into the model.
void load_jax_parameters(LanguageModel& model, const std::string& path);

}  // namespace ttt
