// A model's parameters under the names and layout of its checkpoint file: Hugging Face's Llama for attention and Mamba
// for Mamba, the official PyTorch model's (ttt-lm-pytorch) for TTT, so that other tools load model.safetensors as it
// is. A hybrid's layers keep the names of their kind.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "arch/model_config.h"
#include "base/json.h"
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

// Copies file tensors into the model. Throws UserError naming the first tensor that is missing, superfluous or of
// another shape; `source` names the file in messages.
void import_parameters(LanguageModel& model, const std::vector<std::pair<std::string, torch::Tensor>>& file_tensors,
                       const std::string& source);

// What config.json says to a program that generates; nothing of it changes the model.
struct GenerationKeys {
  std::int64_t max_position_embeddings = 0;       // tokens in a sequence of the training; 0: not known
  Json bos_token_id, eos_token_id, pad_token_id;  // of the tokenizer; null: none; others write lists of ids, too
};
GenerationKeys generation_keys(const Json& hugging_face_config);

// config.json beside the weights (Hugging Face's keys; model_type llama, mamba, ttt, or ttt_cpp for what none of those
// has: hybrids, attention windows, pre_conv elsewhere), and back. Reading refuses, by name, every key that is neither
// understood nor known to be harmless.
Json hugging_face_config(const ModelConfig& config, const GenerationKeys& generation = {});
ModelConfig model_config_from_hugging_face(const Json& json, const std::string& source);

}  // namespace ttt
