// How much inner loops learn in evaluation: a scale of their learning rates, and a token after which they are frozen.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <memory>

#include "model/language_model.h"

namespace ttt {
namespace {

constexpr std::int64_t kInnerLoopTime = 19;

std::unique_ptr<LanguageModel> model_of(const MixerPattern& mixer, Backbone backbone, double base_lr = 1.0) {
  ModelConfig config;
  config.mixer = mixer;
  config.backbone = backbone;
  config.vocab_size = 29;
  config.hidden_size = 32;
  config.num_heads = 2;
  config.num_layers = 2;
  config.intermediate_size = 24;
  config.mini_batch_size = 4;
  config.ttt_base_lr = config.ttt_base_lr_init = base_lr;
  auto model = std::make_unique<LanguageModel>(config, 3);
  for (auto& item : model->named_parameters())  // as far from the start as a training takes them
    if (item.key().ends_with(".w1") || item.key().ends_with("lr_weight")) item.value().data().mul_(5);
  return model;
}

torch::Tensor random_tokens() {
  torch::manual_seed(5);
  return torch::randint(0, 29, {2, kInnerLoopTime}, torch::kLong);
}

torch::Tensor hidden_of(LanguageModel& model, const InnerLoopControl& control) {
  const torch::NoGradGuard no_grad;
  model.set_inner_loop(control);
  return model.hidden(random_tokens(), ForwardContext{});
}

class InnerLoop : public ::testing::TestWithParam<std::pair<MixerKind, Backbone>> {};
INSTANTIATE_TEST_SUITE_P(Mixers, InnerLoop,
                         ::testing::Values(std::pair(MixerKind::kTttLinear, Backbone::kTransformer),
                                           std::pair(MixerKind::kTttMlp, Backbone::kMamba)),
                         [](const auto& p) { return std::string(to_string(p.param.first)); });

// The rates are base_lr times the scale, so a scale is another base_lr; and at 0 nothing is learned.
TEST_P(InnerLoop, AScaleIsAnotherLearningRate) {
  const auto [mixer, backbone] = GetParam();
  const auto model = model_of(mixer, backbone), half = model_of(mixer, backbone, 0.5);
  const torch::Tensor as_trained = hidden_of(*model, {});
  EXPECT_TRUE(torch::equal(hidden_of(*model, {.lr_scale = 1.0}), as_trained));
  EXPECT_TRUE(torch::allclose(hidden_of(*model, {.lr_scale = 0.5}), hidden_of(*half, {}), 1e-5, 1e-6));
  const torch::Tensor still = hidden_of(*model, {.lr_scale = 0.0});
  EXPECT_FALSE(torch::allclose(still, as_trained, 1e-3, 1e-3));
  EXPECT_TRUE(torch::equal(hidden_of(*model, {.freeze_after = 0}), still));
}

// Tokens up to the last that learns are what they were, bit for bit; those after it are not.
TEST_P(InnerLoop, FrozenTokensLearnNothing) {
  const auto model = model_of(GetParam().first, GetParam().second);
  const torch::Tensor as_trained = hidden_of(*model, {});
  for (const std::int64_t frozen : {1, 4, 6, 18}) {
    const torch::Tensor o = hidden_of(*model, {.freeze_after = frozen});
    EXPECT_TRUE(torch::equal(o.narrow(1, 0, frozen), as_trained.narrow(1, 0, frozen))) << frozen;
    EXPECT_FALSE(torch::equal(o.narrow(1, frozen, 1), as_trained.narrow(1, frozen, 1))) << frozen;
  }
  EXPECT_TRUE(torch::equal(hidden_of(*model, {.freeze_after = kInnerLoopTime}), as_trained));
}

// Decoding counts the tokens that it has seen, in any pieces.
TEST_P(InnerLoop, DecodingFreezesAtTheSameToken) {
  const auto model = model_of(GetParam().first, GetParam().second);
  const InnerLoopControl control{.lr_scale = 0.7, .freeze_after = 6};
  const torch::NoGradGuard no_grad;
  const torch::Tensor whole = model->logits(hidden_of(*model, control).select(1, kInnerLoopTime - 1));
  for (const std::int64_t split : {1, 5, 6, 7, 18}) {
    ModelState state = model->initial_state(2);
    model->advance(random_tokens().narrow(1, 0, split), state);
    ModelState copy = state.clone();
    EXPECT_TRUE(torch::allclose(model->advance(random_tokens().narrow(1, split, kInnerLoopTime - split), copy), whole,
                                1e-4, 1e-5))
        << split;
  }
}

TEST(InnerLoopOf, ModelsWithoutOneSaySo) {
  EXPECT_EQ(model_of(MixerKind::kAttention, Backbone::kTransformer)->set_inner_loop({.lr_scale = 0.0}), 0);
  EXPECT_EQ(model_of(MixerPattern({MixerKind::kTttLinear, MixerKind::kAttention}), Backbone::kTransformer)
                ->set_inner_loop({.lr_scale = 0.0}),
            1);
}

}  // namespace
}  // namespace ttt
