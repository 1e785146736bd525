// Every parameter of a model: those of its mixers (arch/mixer.h) and of what surrounds them, the embedding, norms, MLPs
// and convolution blocks.
#pragma once

#include <cstdint>

#include "arch/model_config.h"
#include "arch/parameter.h"

namespace ttt {

// Of one block, in the order of checkpoints. Names below "layers.N.", file names below the same part of the file.
Parameters block_parameters(const ModelConfig& config, std::int64_t layer);

// Of the whole model, under full names: "layers.0.mixer.q_proj.weight" is "model.layers.0.self_attn.q_proj.weight" in a
// file and "model/h/0/seq_modeling_block/wq/kernel" in the official JAX code's.
Parameters model_parameters(const ModelConfig& config);

}  // namespace ttt
