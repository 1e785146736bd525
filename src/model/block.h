// One block: x += PreConv(x) (optional), x += Mixer(RMSNorm(x)), x += SwiGLU(RMSNorm(x)) (not in a model of Mamba
// alone).
#pragma once

#include <torch/nn/module.h>

#include <memory>

#include "arch/model_config.h"
#include "model/language_model.h"
#include "nn/layers.h"
#include "nn/mixer.h"

namespace ttt {

class Block : public torch::nn::Module {
 public:
  Block(const ModelConfig& config, std::int64_t layer);
  // x [B,T,D] -> [B,T,D]; advances `state` when given (then without gradients).
  torch::Tensor forward(const torch::Tensor& x_BTD, const ForwardContext& context, ModelState::BlockState* state);
  ModelState::BlockState initial_state(std::int64_t batch) const;

 private:
  torch::Tensor compute(const torch::Tensor& x_BTD, const ForwardContext& context, ModelState::BlockState* state);

  std::shared_ptr<PreConv> pre_conv_;  // null without pre_conv
  std::shared_ptr<RmsNorm> mixer_norm_;
  std::shared_ptr<SequenceMixer> mixer_;
  std::shared_ptr<RmsNorm> mlp_norm_;  // null without an MLP
  std::shared_ptr<SwiGlu> mlp_;
};

}  // namespace ttt
