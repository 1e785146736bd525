#include "model/block.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "model/recompute.h"
#include "model/segments.h"
#include "ops/causal_conv.h"

namespace ttt {

Block::Block(const ModelConfig& config, std::int64_t layer) {
  const auto D = config.hidden_size;
  const double eps = config.rms_norm_eps();
  if (config.pre_conv) pre_conv_ = register_module("pre_conv", std::make_shared<PreConv>(D, eps));
  mixer_norm_ = register_module("mixer_norm", std::make_shared<RmsNorm>(D, eps));
  mixer_ = register_module("mixer", make_mixer(config, layer));
  if (!config.has_mlp()) return;
  mlp_norm_ = register_module("mlp_norm", std::make_shared<RmsNorm>(D, eps));
  mlp_ = register_module("mlp", std::make_shared<SwiGlu>(D, config.intermediate_size));
}

torch::Tensor Block::forward(const torch::Tensor& x_BTD, const ForwardContext& context, ModelState::BlockState* state) {
  if (!context.recompute || state != nullptr || !torch::GradMode::is_enabled()) return compute(x_BTD, context, state);
  ForwardContext again = context;
  again.stats = nullptr;  // collected once, in the forward pass
  return recomputed([this, context](const torch::Tensor& x) { return compute(x, context, nullptr); },
                    [this, again](const torch::Tensor& x) { return compute(x, again, nullptr); }, x_BTD);
}

torch::Tensor Block::compute(const torch::Tensor& x_BTD, const ForwardContext& context, ModelState::BlockState* state) {
  torch::Tensor y_BTD = x_BTD;
  if (pre_conv_) {
    y_BTD = y_BTD + by_segments(y_BTD, context, [&](const torch::Tensor& part_BTD, const ForwardContext&) {
              return pre_conv_->forward(part_BTD, state ? &state->pre_conv_window_BWD : nullptr);
            });
  }
  const torch::Tensor mixed_BTD = by_segments(
      mixer_norm_->forward(y_BTD), context, [&](const torch::Tensor& part_BTD, const ForwardContext& part_context) {
        return mixer_->forward(part_BTD, part_context, state ? state->mixer.get() : nullptr);
      });
  if (!mlp_) return y_BTD + mixed_BTD;
  const NormedSum mixed = mlp_norm_->forward(y_BTD, mixed_BTD);
  return mixed.sum + mlp_->forward(mixed.y);
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
