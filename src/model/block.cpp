#include "model/block.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "ops/causal_conv.h"

namespace ttt {

Block::Block(const ModelConfig& config) {
  const auto D = config.hidden_size;
  if (config.pre_conv) pre_conv_ = register_module("pre_conv", std::make_shared<PreConv>(D));
  mixer_norm_ = register_module("mixer_norm", std::make_shared<RmsNorm>(D));
  mixer_ = register_module("mixer", make_mixer(config));
  mlp_norm_ = register_module("mlp_norm", std::make_shared<RmsNorm>(D));
  mlp_ = register_module("mlp", std::make_shared<SwiGlu>(D, config.intermediate_size));
}

torch::Tensor Block::forward(const torch::Tensor& x_BTD, const ForwardContext& context, ModelState::BlockState* state) {
  torch::Tensor y_BTD = x_BTD;
  if (pre_conv_) y_BTD = y_BTD + pre_conv_->forward(y_BTD, state ? &state->pre_conv_window_BWD : nullptr);
  y_BTD = y_BTD + mixer_->forward(mixer_norm_->forward(y_BTD), context, state ? state->mixer.get() : nullptr);
  return y_BTD + mlp_->forward(mlp_norm_->forward(y_BTD));
}

ModelState::BlockState Block::initial_state(std::int64_t batch) const {
  ModelState::BlockState state;
  state.mixer = mixer_->initial_state(batch);
  const torch::Tensor& weight_D = mixer_norm_->weight;
  if (pre_conv_)
    state.pre_conv_window_BWD =
        torch::zeros({batch, kConvWidth - 1, weight_D.size(0)}, weight_D.options().requires_grad(false));
  return state;
}

}  // namespace ttt
