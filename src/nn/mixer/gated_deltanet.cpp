#include "nn/mixer/gated_deltanet.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "base/error.h"
#include "ops/causal_conv.h"
#include "ops/conv_silu.h"
#include "ops/gated_delta.h"
#include "ops/rms_norm.h"
#include "ops/row_dispatch.h"
#include "ops/swiglu.h"

namespace ttt {

std::unique_ptr<MixerState> GatedDeltaState::clone() const {
  auto copy = std::make_unique<GatedDeltaState>();
  copy->q_window_BWE = q_window_BWE.clone();
  copy->k_window_BWE = k_window_BWE.clone();
  copy->v_window_BWE = v_window_BWE.clone();
  copy->S_BHKV = S_BHKV.clone();
  return copy;
}

std::int64_t GatedDeltaState::bytes() const {
  return static_cast<std::int64_t>(q_window_BWE.nbytes() + k_window_BWE.nbytes() + v_window_BWE.nbytes() +
                                   S_BHKV.nbytes());
}

GatedDeltaMixer::GatedDeltaMixer(const GatedDeltaConfig& config) : config_(config) {
  const auto D = config.hidden_size, H = config.num_heads, HK = H * config.head_dim, HV = H * config.value_dim;
  TTT_CHECK(D > 0 && HK > 0 && HV > 0, "width ", D, ", heads ", H, " of ", config.head_dim, " and ", config.value_dim);
  const auto conv = [](std::int64_t width) {
    return std::make_shared<Weight>(at::IntArrayRef({width, 1, kConvWidth}));
  };
  q_proj_ = register_module("q_proj", std::make_shared<Linear>(D, HK));
  k_proj_ = register_module("k_proj", std::make_shared<Linear>(D, HK));
  v_proj_ = register_module("v_proj", std::make_shared<Linear>(D, HV));
  if (config.use_gate) g_proj_ = register_module("g_proj", std::make_shared<Linear>(D, HV));
  a_proj_ = register_module("a_proj", std::make_shared<Linear>(D, H));
  b_proj_ = register_module("b_proj", std::make_shared<Linear>(D, H));
  A_log_H_ = register_parameter("A_log", torch::empty({H}));
  dt_bias_H_ = register_parameter("dt_bias", torch::empty({H}));
  q_conv1d_ = register_module("q_conv1d", conv(HK));
  k_conv1d_ = register_module("k_conv1d", conv(HK));
  v_conv1d_ = register_module("v_conv1d", conv(HV));
  o_norm_ = register_module("o_norm", std::make_shared<Weight>(at::IntArrayRef({config.value_dim})));
  o_proj_ = register_module("o_proj", std::make_shared<Linear>(HV, D));
}

torch::Tensor GatedDeltaMixer::heads(const torch::Tensor& x_BTD, const Linear& projection, const Weight& conv,
                                     torch::Tensor* window) const {
  const torch::Tensor in_BTE = projection.forward(x_BTD);
  const torch::Tensor out_BTE = conv_silu(in_BTE, conv.weight, window == nullptr ? torch::Tensor() : *window);
  if (window != nullptr) *window = next_conv_window(in_BTE, *window);
  return out_BTE.unflatten(2, {config_.num_heads, -1}).transpose(1, 2);
}

torch::Tensor GatedDeltaMixer::forward(const torch::Tensor& x_BTD, const ForwardContext&, MixerState* state) {
  auto* decoding = dynamic_cast<GatedDeltaState*>(state);
  TTT_CHECK((decoding != nullptr) == (state != nullptr), "a state of another mixer");
  const torch::AutoGradMode grad_mode(torch::GradMode::is_enabled() && decoding == nullptr);

  const at::ScalarType type = x_BTD.scalar_type(), wide = wide_type(type);
  GatedDeltaInputs in;
  in.q_BHTK = heads(x_BTD, *q_proj_, *q_conv1d_, decoding ? &decoding->q_window_BWE : nullptr);
  in.k_BHTK = heads(x_BTD, *k_proj_, *k_conv1d_, decoding ? &decoding->k_window_BWE : nullptr);
  in.v_BHTV = heads(x_BTD, *v_proj_, *v_conv1d_, decoding ? &decoding->v_window_BWE : nullptr);
  const torch::Tensor step_BTH = at::softplus(a_proj_->forward(x_BTD).to(wide) + dt_bias_H_);
  in.g_BHT = (step_BTH * -at::exp(A_log_H_)).transpose(1, 2);
  const torch::Tensor beta_BTH = at::sigmoid(b_proj_->forward(x_BTD).to(wide));
  in.beta_BHT = (config_.allow_neg_eigval ? 2 * beta_BTH : beta_BTH).transpose(1, 2);

  const torch::Tensor o_BHTV =
      decoding != nullptr ? gated_delta_advance(in, decoding->S_BHKV) : gated_delta_forward(in);
  const torch::Tensor y_BTE =
      rms_norm(o_BHTV.transpose(1, 2), o_norm_->weight, config_.norm_eps, type).flatten(/*start_dim=*/2);
  return o_proj_->forward(g_proj_ ? swiglu(/*gate=*/g_proj_->forward(x_BTD), y_BTE) : y_BTE);
}

std::unique_ptr<MixerState> GatedDeltaMixer::initial_state(std::int64_t batch) const {
  const torch::NoGradGuard no_grad;
  auto state = std::make_unique<GatedDeltaState>();
  const auto options = A_log_H_.options().requires_grad(false);
  const auto H = config_.num_heads, K = config_.head_dim, V = config_.value_dim;
  state->q_window_BWE = at::zeros({batch, kConvWidth - 1, H * K}, options);
  state->k_window_BWE = at::zeros({batch, kConvWidth - 1, H * K}, options);
  state->v_window_BWE = at::zeros({batch, kConvWidth - 1, H * V}, options);
  state->S_BHKV = at::zeros({batch, H, K, V}, options);
  return state;
}

}  // namespace ttt
