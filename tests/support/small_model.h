// A model that is built in a moment, of any mixer.
#pragma once

#include <utility>

#include "arch/model_config.h"

namespace ttt {

inline ModelConfig small_model(MixerPattern mixer, Backbone backbone = ModelConfig().backbone) {
  ModelConfig config;
  config.mixer = std::move(mixer);
  config.backbone = backbone;
  config.vocab_size = 31;
  config.hidden_size = 24;
  config.num_heads = 3;
  config.num_layers = 2;
  config.intermediate_size = 40;
  config.mini_batch_size = 8;
  return config;
}

}  // namespace ttt
