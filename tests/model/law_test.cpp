// The laws that hold for every mixer, backbone and pre_conv, in fp64: forward(T) = forward(k) then single steps =
// chunks of any sizes; a token changes nothing before it; a sequence does not depend on the rest of its batch.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <string>
#include <vector>

#include "model/language_model.h"

namespace ttt {
namespace {

constexpr std::int64_t kMiniBatch = 4, kTime = 14, kVocab = 23;
constexpr double kTolerance = 1e-9;

struct Case {
  MixerKind mixer;
  Backbone backbone;
  bool pre_conv;
};

std::vector<Case> all_cases() {
  std::vector<Case> list;
  for (const bool pre_conv : {false, true}) {
    list.push_back({MixerKind::kAttention, Backbone::kTransformer, pre_conv});
    for (const MixerKind mixer : {MixerKind::kTttLinear, MixerKind::kTttMlp})
      for (const Backbone backbone : {Backbone::kTransformer, Backbone::kMamba})
        list.push_back({mixer, backbone, pre_conv});
  }
  return list;
}

std::string case_name(const ::testing::TestParamInfo<Case>& instance) {
  const Case& c = instance.param;
  return std::string(to_string(c.mixer)) + "_" + to_string(c.backbone) + (c.pre_conv ? "_pre_conv" : "");
}

class Law : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    at::set_num_threads(1);  // tiny tensors
    torch::manual_seed(7);
    ModelConfig config;
    config.mixer = GetParam().mixer;
    config.backbone = GetParam().backbone;
    config.pre_conv = GetParam().pre_conv;
    config.vocab_size = kVocab;
    config.hidden_size = 16;
    config.num_heads = 2;
    config.num_layers = 2;
    config.intermediate_size = 24;
    config.mini_batch_size = kMiniBatch;
    model_ = std::make_unique<LanguageModel>(config, 3);
    model_->to(torch::kDouble);
    const torch::NoGradGuard no_grad;
    // Away from the initial values, so that every parameter matters (biases and deltas start at 0, norms at 1).
    for (auto& parameter : model_->parameters()) parameter.add_(0.15 * torch::randn_like(parameter));
    tokens_ = torch::randint(kVocab, {2, kTime}, torch::kLong);
  }

  torch::Tensor full(const torch::Tensor& tokens_BT) {
    const torch::NoGradGuard no_grad;
    return model_->logits(model_->hidden(tokens_BT, {}));
  }

  // Logits of every position with the sequence cut into pieces of these lengths.
  torch::Tensor in_pieces(const std::vector<std::int64_t>& lengths) {
    const torch::NoGradGuard no_grad;
    ModelState state = model_->initial_state(tokens_.size(0));
    std::vector<torch::Tensor> logits;
    std::int64_t begin = 0;
    for (const auto length : lengths) {
      logits.push_back(model_->logits(model_->hidden(tokens_.narrow(1, begin, length), {}, &state)));
      begin += length;
      EXPECT_EQ(state.position, begin);
    }
    return torch::cat(logits, 1);
  }

  static double difference(const torch::Tensor& a, const torch::Tensor& b) {
    return (a - b).abs().max().item<double>();
  }

  std::unique_ptr<LanguageModel> model_;
  torch::Tensor tokens_;
};

TEST_P(Law, PrefillThenStepsEqualsForward) {
  const torch::Tensor expected = full(tokens_);
  ASSERT_GT(expected.abs().max().item<double>(), 0.1);
  for (std::int64_t k = 0; k <= kTime; ++k) {
    std::vector<std::int64_t> lengths;
    if (k > 0) lengths.push_back(k);
    lengths.insert(lengths.end(), static_cast<std::size_t>(kTime - k), 1);
    EXPECT_LT(difference(in_pieces(lengths), expected), kTolerance) << "prompt of " << k;
  }
}

TEST_P(Law, ChunkedPrefillEqualsForward) {
  const torch::Tensor expected = full(tokens_);
  for (const auto& lengths : std::vector<std::vector<std::int64_t>>{
           {3, 3, 3, 3, 2}, {4, 4, 4, 2}, {5, 5, 4}, {1, 2, 3, 8}, {7, 7}, {2, 9, 3}, {6, 1, 1, 6}})
    EXPECT_LT(difference(in_pieces(lengths), expected), kTolerance) << ::testing::PrintToString(lengths);
}

TEST_P(Law, LaterTokensChangeNothingBefore) {
  const torch::Tensor expected = full(tokens_);
  for (const std::int64_t t : {1, 3, 4, 5, 8, 13}) {
    torch::Tensor changed = tokens_.clone();
    changed.narrow(1, t, kTime - t).add_(1).remainder_(kVocab);
    const torch::Tensor logits = full(changed);
    EXPECT_LT(difference(logits.narrow(1, 0, t), expected.narrow(1, 0, t)), 1e-12) << "from token " << t;
    EXPECT_GT(difference(logits.select(1, t), expected.select(1, t)), 1e-6) << "token " << t << " has no effect";
  }
}

TEST_P(Law, ShorterSequenceIsAPrefix) {
  const torch::Tensor expected = full(tokens_);
  for (std::int64_t length = 1; length < kTime; ++length)
    EXPECT_LT(difference(full(tokens_.narrow(1, 0, length)), expected.narrow(1, 0, length)), kTolerance) << length;
}

TEST_P(Law, SequencesOfABatchAreIndependent) {
  const torch::Tensor expected = full(tokens_);
  for (const std::int64_t b : {0, 1})
    EXPECT_LT(difference(full(tokens_.narrow(0, b, 1)), expected.narrow(0, b, 1)), 1e-12);
}

TEST_P(Law, ClonedStateContinuesAlone) {
  const torch::NoGradGuard no_grad;
  ModelState state = model_->initial_state(2);
  model_->advance(tokens_.narrow(1, 0, 6), state);
  ModelState copy = state.clone();
  const torch::Tensor next = model_->advance(tokens_.narrow(1, 6, 1), state);
  model_->advance(tokens_.narrow(1, 9, 3), state);  // must leave the copy alone
  EXPECT_EQ(difference(model_->advance(tokens_.narrow(1, 6, 1), copy), next), 0.0);
  EXPECT_GT(copy.bytes(), 0);
}

TEST_P(Law, StateBytesGrowOnlyWithAttention) {
  const torch::NoGradGuard no_grad;
  ModelState state = model_->initial_state(1);
  const auto fresh = state.bytes();
  model_->advance(tokens_.narrow(0, 0, 1), state);
  if (GetParam().mixer == MixerKind::kAttention) {
    EXPECT_GT(state.bytes(), fresh);
  } else {
    EXPECT_EQ(state.bytes(), fresh);
  }
}

INSTANTIATE_TEST_SUITE_P(Mixers, Law, ::testing::ValuesIn(all_cases()), case_name);

}  // namespace
}  // namespace ttt
