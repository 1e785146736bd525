// A model's parameters under the names and layout of its checkpoint file: Hugging Face's Llama for attention and Mamba
// for Mamba, the official PyTorch model's (ttt-lm-pytorch) for TTT, so that other tools load model.safetensors as it
// is. A hybrid's layers keep the names of their kind.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "arch/model_config.h"
#include "config/hugging_face.h"
#include "model/language_model.h"

namespace ttt {

// One parameter of the model and its place in the file.
struct LayoutEntry {
  std::string parameter;    // the model's own name, "layers.0.mixer.q_proj.weight"
  std::string file_name;    // "model.layers.0.self_attn.q_proj.weight"
  std::int64_t rope_heads;  // > 0: rows are permuted between our interleaved RoPE pairs and Llama's (i, i + K/2), this
                            // many heads
};

std::vector<LayoutEntry> checkpoint_layout(const ModelConfig& config);

// The parameters as the file holds them, fp32, in the layout's order. Copies.
std::vector<std::pair<std::string, torch::Tensor>> export_parameters(const LanguageModel& model);

// The same mapping for any tensors keyed by parameter name (gradients, optimizer moments).
std::vector<std::pair<std::string, torch::Tensor>> to_file_layout(
    const ModelConfig& config, const std::vector<std::pair<std::string, torch::Tensor>>& by_parameter);

// Copies file tensors into the model, and lets go of each once it is copied. Throws UserError naming the first tensor that is missing, superfluous or of
// another shape; `source` names the file in messages.
void import_parameters(LanguageModel& model, std::vector<std::pair<std::string, torch::Tensor>> file_tensors,
                       const std::string& source);

}  // namespace ttt
