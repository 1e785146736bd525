#include "model/language_model.h"

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "base/error.h"
#include "model/block.h"
#include "model/init.h"
#include "ops/cross_entropy.h"
#include "ops/linear.h"

namespace ttt {

ModelState ModelState::clone() const {
  ModelState copy;
  copy.position = position;
  for (const BlockState& block : blocks) {
    const torch::Tensor& window_BDW = block.pre_conv_window_BWD;
    copy.blocks.push_back({block.mixer->clone(), window_BDW.defined() ? window_BDW.clone() : window_BDW});
  }
  return copy;
}

std::int64_t ModelState::bytes() const {
  std::int64_t sum = 0;
  for (const BlockState& block : blocks) {
    sum += block.mixer->bytes();
    if (block.pre_conv_window_BWD.defined()) sum += static_cast<std::int64_t>(block.pre_conv_window_BWD.nbytes());
  }
  return sum;
}

LanguageModel::LanguageModel(const ModelConfig& config, std::uint64_t seed) : LanguageModel(config) {
  initialize_parameters(config, seed, named_parameters().pairs());
}

LanguageModel::LanguageModel(const ModelConfig& config) : config_(config) {
  validate(config);
  const auto V = config.vocab_size, D = config.hidden_size;
  embedding_ = register_module("embedding", std::make_shared<Weight>(at::IntArrayRef({V, D})))->weight;
  layers_ = register_module("layers", torch::nn::ModuleList());
  for (std::int64_t i = 0; i < config.num_layers; ++i) layers_->push_back(std::make_shared<Block>(config, i));
  final_norm_ = register_module("final_norm", std::make_shared<RmsNorm>(D, config.rms_norm_eps()));
  if (!config.tie_embeddings) head_ = register_module("lm_head", std::make_shared<Linear>(D, V))->weight;
  check_declared(config, named_parameters().pairs());
}

torch::Tensor LanguageModel::hidden(const torch::Tensor& tokens_BT, const ForwardContext& context, ModelState* state) {
  TTT_CHECK(tokens_BT.dim() == 2 && tokens_BT.scalar_type() == torch::kLong, "tokens ", tokens_BT.sizes());
  const torch::AutoGradMode grad_mode(torch::GradMode::is_enabled() && state == nullptr);
  torch::Tensor x_BTD = at::embedding(embedding_, tokens_BT);
  ForwardContext block_context = context;
  for (std::size_t i = 0; i < layers_->size(); ++i) {
    block_context.layer = static_cast<std::int64_t>(i);
    x_BTD = layers_->at<Block>(i).forward(x_BTD, block_context, state ? &state->blocks.at(i) : nullptr);
  }
  if (state != nullptr) state->position += tokens_BT.size(1);
  return final_norm_->forward(x_BTD);
}

torch::Tensor LanguageModel::logits(const torch::Tensor& hidden_BTD) const {
  return linear_layer(hidden_BTD, head());
}

const torch::Tensor& LanguageModel::head() const {
  if (rounded_head_.defined()) return rounded_head_;
  return config_.tie_embeddings ? embedding_ : head_;
}

void LanguageModel::set_bf16(bool on) {
  bf16_ = on;
  for (const auto& module : modules(/*include_self=*/false)) {
    if (auto* norm = dynamic_cast<RmsNorm*>(module.get()))
      norm->set_output_type(on ? std::optional(at::kBFloat16) : std::nullopt);
  }
}

std::int64_t LanguageModel::set_inner_loop(const InnerLoopControl& control) {
  std::int64_t count = 0;
  for (const auto& module : modules(/*include_self=*/false)) {
    if (auto* mixer = dynamic_cast<SequenceMixer*>(module.get())) count += mixer->set_inner_loop(control) ? 1 : 0;
  }
  return count;
}

void LanguageModel::round_dense_weights() {
  TTT_CHECK(bf16_, "dense weights are rounded for a model in bf16");
  const torch::NoGradGuard no_grad;
  rounded_head_ = head().to(at::kBFloat16);
  for (const auto& module : modules(/*include_self=*/false)) {
    torch::Tensor* weight = nullptr;
    if (auto* linear = dynamic_cast<Linear*>(module.get())) weight = &linear->weight;
    if (auto* biased = dynamic_cast<BiasedLinear*>(module.get())) weight = &biased->weight;
    if (weight != nullptr) weight->set_data(weight->to(at::kBFloat16));
  }
}

torch::Tensor LanguageModel::token_loss(const torch::Tensor& tokens_BT, const torch::Tensor& targets_BT,
                                        const ForwardContext& context) {
  return hidden_loss(hidden(tokens_BT, context), targets_BT);
}

torch::Tensor LanguageModel::hidden_loss(const torch::Tensor& hidden_BTD, const torch::Tensor& targets_BT) const {
  return token_cross_entropy(hidden_BTD.flatten(0, 1), head(), targets_BT.flatten()).view(targets_BT.sizes());
}

torch::Tensor LanguageModel::most_likely(const torch::Tensor& hidden_ND) const {
  const torch::NoGradGuard no_grad;
  const std::int64_t chunk =
      default_chunk_tokens(config_.vocab_size, hidden_ND.scalar_type(), hidden_ND.device().type());
  const torch::Tensor ids_N = torch::empty({hidden_ND.size(0)}, hidden_ND.options().dtype(torch::kLong));
  for (std::int64_t begin = 0; begin < hidden_ND.size(0); begin += chunk) {
    const std::int64_t n = std::min(chunk, hidden_ND.size(0) - begin);
    ids_N.narrow(0, begin, n).copy_(logits(hidden_ND.narrow(0, begin, n)).argmax(1));
  }
  return ids_N;
}

torch::Tensor LanguageModel::advance(const torch::Tensor& tokens_BT, ModelState& state) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor hidden_BTD = hidden(tokens_BT, ForwardContext{}, &state);
  return logits(hidden_BTD.select(1, hidden_BTD.size(1) - 1));
}

ModelState LanguageModel::initial_state(std::int64_t batch) const {
  ModelState state;
  for (std::size_t i = 0; i < layers_->size(); ++i) state.blocks.push_back(layers_->at<Block>(i).initial_state(batch));
  return state;
}

}  // namespace ttt
