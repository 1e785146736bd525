// config.json of a checkpoint: a model's config under Hugging Face's keys.
#pragma once

#include <cstdint>
#include <string>

#include "arch/model_config.h"
#include "base/json.h"

namespace ttt {

// What config.json says to a program that generates; nothing of it changes the model.
struct GenerationKeys {
  std::int64_t max_position_embeddings = 0;       // tokens in a sequence of the training; 0: not known
  Json bos_token_id, eos_token_id, pad_token_id;  // of the tokenizer; null: none; others write lists of ids, too
};
GenerationKeys generation_keys(const Json& hugging_face_config);

// config.json beside the weights (Hugging Face's keys; model_type llama, mamba, ttt, gated_deltanet, or ttt_cpp for
// what none of those has: hybrids, attention windows, pre_conv elsewhere), and back. Reading refuses, by name, every
// key that is neither understood nor known to be harmless.
Json hugging_face_config(const ModelConfig& config, const GenerationKeys& generation = {});
ModelConfig model_config_from_hugging_face(const Json& json, const std::string& source);

}  // namespace ttt
