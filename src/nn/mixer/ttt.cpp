#include "nn/mixer/ttt.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "base/error.h"
#include "ops/causal_conv.h"
#include "ops/conv_rope.h"
#include "ops/layer_norm_gate.h"
#include "ops/linear.h"

namespace ttt {
namespace {

constexpr double kKeyMassEps = 1e-6;  // of the normaliser

torch::Tensor copy_of(const torch::Tensor& tensor) {
  return tensor.defined() ? tensor.clone() : tensor;
}

std::int64_t bytes_of(const torch::Tensor& tensor) {
  return tensor.defined() ? static_cast<std::int64_t>(tensor.nbytes()) : 0;
}

// The smallest, the quartiles and the largest of the values.
torch::Tensor five_quantiles(const torch::Tensor& values) {
  const torch::Tensor sorted = std::get<0>(values.flatten().sort());
  std::vector<std::int64_t> places;
  for (int i = 0; i <= 4; ++i) places.push_back(std::llround(0.25 * i * static_cast<double>(sorted.numel() - 1)));
  return sorted.index_select(0, torch::tensor(places, sorted.options().dtype(torch::kLong))).to(torch::kFloat);
}

}  // namespace

std::unique_ptr<MixerState> TttMixerState::clone() const {
  auto copy = std::make_unique<TttMixerState>();
  copy->inner = inner;
  copy->tokens = tokens;
  for (torch::Tensor* tensor : copy->inner.tensors()) *tensor = tensor->clone();
  copy->qk_window_BWD = copy_of(qk_window_BWD);
  copy->key_sum_BHK = copy_of(key_sum_BHK);
  return copy;
}

std::int64_t TttMixerState::bytes() const {
  std::int64_t sum = bytes_of(qk_window_BWD) + bytes_of(key_sum_BHK);
  TttState handles = inner;
  for (const torch::Tensor* tensor : handles.tensors()) sum += bytes_of(*tensor);
  return sum;
}

TttMixer::TttMixer(const ModelConfig& config, const TttNet& net)
    : net_(net),
      backbone_(config.backbone),
      feature_map_(config.ttt_feature_map),
      normalizer_(config.ttt_normalizer),
      learned_lr_(config.ttt_learned_lr),
      num_heads_(config.num_heads),
      head_dim_(config.head_size()),
      mini_batch_(config.mini_batch_size),
      base_lr_(config.resolved_ttt_base_lr()),
      rope_theta_(config.rope_theta) {
  net_.learner = {.layer_norm = config.ttt_norm, .residual = config.ttt_residual};
  net_.update = {.biases = config.ttt_bias, .steps = config.ttt_inner_steps};
  const auto D = config.hidden_size, H = num_heads_, K = head_dim_, M = 4 * K;
  q_proj_ = register_module("q_proj", std::make_shared<Linear>(D, D));
  if (backbone_ == Backbone::kTransformer) k_proj_ = register_module("k_proj", std::make_shared<Linear>(D, D));
  if (config.ttt_target == TttTarget::kValue) v_proj_ = register_module("v_proj", std::make_shared<Linear>(D, D));
  o_proj_ = register_module("o_proj", std::make_shared<Linear>(D, D));
  if (backbone_ == Backbone::kMamba) {
    gate_proj_ = register_module("gate_proj", std::make_shared<Linear>(D, D));
    conv_q_ = register_module("conv_q", std::make_shared<CausalConv>(D));
    conv_k_ = register_module("conv_k", std::make_shared<CausalConv>(D));
  }
  post_norm_ = register_module("post_norm", std::make_shared<LayerNormParameters>(D));
  // The op takes every tensor of a layer; those that this variant has not got are constants.
  const auto tensor = [&](bool learned, const std::string& name, at::IntArrayRef sizes, double constant = 0) {
    return learned ? register_parameter(name, torch::empty(sizes))
                   : register_buffer(name, torch::full(sizes, constant));
  };
  ttt_norm_weight_HK_ = tensor(config.ttt_norm, "ttt_norm_weight", {H, K}, 1);
  ttt_norm_bias_HK_ = tensor(config.ttt_norm, "ttt_norm_bias", {H, K});
  if (learned_lr_) {
    lr_weight_H1D_ = register_parameter("lr_weight", torch::empty({H, 1, D}));
    lr_bias_H1_ = register_parameter("lr_bias", torch::empty({H, 1}));
    token_scale_delta_C_ = register_parameter("token_scale_delta", torch::empty({mini_batch_}));
  }
  for (std::size_t l = 0; l < net_.layers.size(); ++l) {
    const std::int64_t in = l == 0 ? K : M, out = l + 1 == net_.layers.size() ? K : M;
    initial_weights_.push_back(tensor(config.ttt_learned_w0, net_.layers[l].weight, {H, in, out}));
    initial_weights_.push_back(tensor(config.ttt_learned_w0 && config.ttt_bias, net_.layers[l].bias, {H, 1, out}));
  }
}

std::vector<std::string> TttMixer::dense_weights() const {
  if (!learned_lr_) return {};
  return {"lr_weight"};
}

bool TttMixer::set_inner_loop(const InnerLoopControl& control) {
  control_ = control;
  return true;
}

torch::Tensor TttMixer::inner_learning_rate(const torch::Tensor& x_BTD, const ForwardContext& context,
                                            std::int64_t first) const {
  const at::ScalarType type = x_BTD.scalar_type();
  torch::Tensor open_BTH;
  if (learned_lr_) {
    const torch::Tensor logit_BTH = linear_layer(x_BTD, lr_weight_H1D_.squeeze(1), lr_bias_H1_.squeeze(1));
    open_BTH = at::sigmoid(logit_BTH.to(wide_type(type)));
  } else {
    open_BTH = at::ones({x_BTD.size(0), x_BTD.size(1), num_heads_}, x_BTD.options().dtype(wide_type(type)));
  }
  const double factor = learned_lr_ ? base_lr_ / static_cast<double>(head_dim_) : base_lr_;
  const torch::Tensor sigma_BTH = context.ttt_lr_mult_on_device.defined()
                                      ? open_BTH * (context.ttt_lr_mult_on_device * factor)
                                      : open_BTH * (context.ttt_lr_mult * factor);
  const torch::Tensor sigma_BHT = sigma_BTH.transpose(1, 2).contiguous();
  if (control_ == InnerLoopControl{}) return sigma_BHT;
  torch::Tensor controlled_BHT = sigma_BHT * control_.lr_scale;
  const std::int64_t T = x_BTD.size(1), learning = control_.freeze_after ? *control_.freeze_after - first : T;
  if (learning < T) {
    const std::int64_t kept = std::max<std::int64_t>(learning, 0);
    controlled_BHT =
        at::cat({controlled_BHT.narrow(2, 0, kept), at::zeros_like(controlled_BHT.narrow(2, kept, T - kept))}, 2);
  }
  return controlled_BHT;
}

torch::Tensor TttMixer::forward(const torch::Tensor& x_BTD, const ForwardContext& context, MixerState* state) {
  auto* decoding = dynamic_cast<TttMixerState*>(state);
  TTT_CHECK((decoding != nullptr) == (state != nullptr), "a state of another mixer");
  const torch::AutoGradMode grad_mode(torch::GradMode::is_enabled() && decoding == nullptr);
  if (!rope_table_.matches(x_BTD)) rope_table_ = make_rope_table(mini_batch_, head_dim_, rope_theta_, x_BTD.options());

  const auto place = decoding ? decoding->inner.num_open : 0;  // of the first token in its mini-batch
  const at::ScalarType wide = wide_type(x_BTD.scalar_type());  // of the inner loop
  const bool bf16 = x_BTD.scalar_type() == at::kBFloat16;
  const TttShape shape{x_BTD.size(0),       num_heads_,     x_BTD.size(1), head_dim_,     mini_batch_,
                       x_BTD.scalar_type(), x_BTD.device(), bf16,          net_.variant()};
  const at::ScalarType tokens = bf16 && decoding == nullptr && ttt_takes_bf16(net_, shape) ? at::kBFloat16 : wide;
  const bool wants_stats = context.stats != nullptr && decoding == nullptr;

  TttInputs inputs;
  const torch::Tensor q_BTD = q_proj_->forward(x_BTD);
  torch::Tensor k_BTD;  // before RoPE, for the statistics
  if (backbone_ == Backbone::kMamba) {
    const torch::Tensor window_BWD = decoding ? decoding->qk_window_BWD : torch::Tensor();
    const auto [q_BHTK, k_BHTK] =
        conv_rope_split_heads(q_BTD, {conv_q_->weight, conv_q_->bias}, {conv_k_->weight, conv_k_->bias}, window_BWD,
                              num_heads_, rope_table_, place, tokens);
    inputs.q_BHTK = q_BHTK;
    inputs.k_BHTK = k_BHTK;
    if (wants_stats) k_BTD = conv_k_->forward(q_BTD, window_BWD);
    if (decoding != nullptr) decoding->qk_window_BWD = next_conv_window(q_BTD, window_BWD);
  } else {
    k_BTD = k_proj_->forward(x_BTD);
    inputs.q_BHTK = rope_split_heads(q_BTD, num_heads_, rope_table_, place, tokens);
    inputs.k_BHTK = rope_split_heads(k_BTD, num_heads_, rope_table_, place, tokens);
  }
  inputs.q_BHTK = features(inputs.q_BHTK);
  inputs.k_BHTK = features(inputs.k_BHTK);
  inputs.v_BHTK = split_heads((v_proj_ ? v_proj_->forward(x_BTD) : x_BTD).to(tokens), num_heads_);
  inputs.sigma_BHT = inner_learning_rate(x_BTD, context, decoding ? decoding->tokens : 0);
  if (learned_lr_) {
    const torch::Tensor one_over_C = at::arange(1, mini_batch_ + 1, x_BTD.options().dtype(wide)).reciprocal();
    inputs.scale_C = (one_over_C + token_scale_delta_C_).clamp_min(0);
  } else {
    inputs.scale_C = at::ones({mini_batch_}, x_BTD.options().dtype(wide));
  }
  inputs.gain_HK = ttt_norm_weight_HK_;
  inputs.bias_HK = ttt_norm_bias_HK_;
  inputs.bf16_products = bf16;

  if (wants_stats) context.stats->push_back(statistics(inputs, k_BTD, context.layer));
  torch::Tensor o_BHTK =
      decoding ? ttt_advance(net_, inputs, decoding->inner) : ttt_forward(net_, inputs, initial_weights_, mini_batch_);
  if (normalizer_) o_BHTK = o_BHTK / key_mass(inputs, decoding);
  if (decoding != nullptr) decoding->tokens += x_BTD.size(1);
  const torch::Tensor gate_BTD = gate_proj_ ? gate_proj_->forward(x_BTD) : torch::Tensor();
  return o_proj_->forward(layer_norm_gate(o_BHTK, post_norm_->weight, post_norm_->bias, gate_BTD, x_BTD.scalar_type()));
}

torch::Tensor TttMixer::features(const torch::Tensor& x) const {
  return feature_map_ == TttFeatureMap::kElu ? at::elu(x) + 1 : x;
}

torch::Tensor TttMixer::key_mass(const TttInputs& inputs, TttMixerState* decoding) const {
  const at::ScalarType wide = wide_type(inputs.k_BHTK.scalar_type());
  torch::Tensor sums_BHTK = inputs.k_BHTK.to(wide).cumsum(2);
  if (decoding != nullptr) {
    sums_BHTK = sums_BHTK + decoding->key_sum_BHK.unsqueeze(2);
    decoding->key_sum_BHK = sums_BHTK.select(2, sums_BHTK.size(2) - 1).clone();
  }
  return (inputs.q_BHTK.to(wide) * sums_BHTK).sum(-1, /*keepdim=*/true) + kKeyMassEps;
}

InnerLoopStats TttMixer::statistics(const TttInputs& inputs, const torch::Tensor& k_before_rope_BTD,
                                    std::int64_t layer) const {
  const torch::NoGradGuard no_grad;
  InnerLoopStats stats;
  stats.layer = layer;
  TttInputs wide = inputs;
  for (torch::Tensor* x : {&wide.q_BHTK, &wide.k_BHTK, &wide.v_BHTK}) *x = x->to(wide_type(x->scalar_type()));
  const TttStats inner = ttt_statistics(net_, wide, initial_weights_, mini_batch_);
  stats.loss_w0 = inner.loss_w0;
  stats.loss_before = inner.loss_before;
  stats.loss_after = inner.loss_after;
  stats.weight_change = inner.weight_change;
  const torch::Tensor target_BHTK =
      net_.learner.residual ? wide.v_BHTK - features(split_heads(k_before_rope_BTD, num_heads_)) : wide.v_BHTK;
  const torch::Tensor deviation = target_BHTK - target_BHTK.mean(2, /*keepdim=*/true);
  const torch::Tensor first_of_each = deviation.slice(2, 0, std::nullopt, mini_batch_);
  stats.target_variance = first_of_each.square().mean({0, 1, 3}).to(torch::kFloat);
  stats.sigma_quantiles = five_quantiles(inputs.sigma_BHT);
  stats.sigma = inputs.sigma_BHT.detach().flatten();
  return stats;
}

std::unique_ptr<MixerState> TttMixer::initial_state(std::int64_t batch) const {
  const torch::NoGradGuard no_grad;
  auto state = std::make_unique<TttMixerState>();
  state->inner = ttt_initial_state(initial_weights_, batch, mini_batch_, net_.update.steps);
  const at::TensorOptions options = o_proj_->weight.options();
  if (backbone_ == Backbone::kMamba)
    state->qk_window_BWD = at::zeros({batch, kConvWidth - 1, num_heads_ * head_dim_}, options);
  if (normalizer_) state->key_sum_BHK = at::zeros({batch, num_heads_, head_dim_}, options);
  return state;
}

}  // namespace ttt
