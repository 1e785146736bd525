// The laws that hold for every mixer, variant of TTT layers, hybrid, backbone and pre_conv, in fp64: forward(T) = forward(k) then single steps
// = chunks of any sizes; a token changes nothing before it; a sequence does not depend on the rest of its batch.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "model/language_model.h"
#include "model/segments.h"
#include "model/ttt_variants.h"

namespace ttt {
namespace {

constexpr std::int64_t kMiniBatch = 4, kTime = 14, kVocab = 23;
constexpr double kTolerance = 1e-9;

struct Case {
  std::string name;
  MixerPattern mixer;
  Backbone backbone;
  bool pre_conv;
  std::int64_t window = 0;
  void (*turn)(ModelConfig&) = nullptr;  // switches of TTT layers

  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

std::vector<Case> all_cases() {
  std::vector<Case> list;
  constexpr auto attention = MixerKind::kAttention, linear = MixerKind::kTttLinear, mlp = MixerKind::kTttMlp,
                 mamba = MixerKind::kMamba, deltanet = MixerKind::kGatedDeltaNet;
  const auto add = [&](const std::string& name, const MixerPattern& mixer, Backbone backbone, bool pre_conv,
                       std::int64_t window = 0) {
    list.push_back(
        {name + "_" + to_string(backbone) + (pre_conv ? "_pre_conv" : ""), mixer, backbone, pre_conv, window});
  };
  for (const bool pre_conv : {false, true}) {
    add("attention", attention, Backbone::kTransformer, pre_conv);
    add("attention_window", attention, Backbone::kTransformer, pre_conv, /*window=*/5);
    add("mamba", mamba, Backbone::kTransformer, pre_conv);
    add("gated_deltanet", deltanet, Backbone::kTransformer, pre_conv);
    for (const MixerKind mixer : {linear, mlp})
      for (const Backbone backbone : {Backbone::kTransformer, Backbone::kMamba})
        add(to_string(mixer), mixer, backbone, pre_conv);
    add("linear_attention", MixerPattern({linear, attention}), Backbone::kMamba, pre_conv);
    add("mlp_window", MixerPattern({mlp, attention}), Backbone::kTransformer, pre_conv, /*window=*/3);
    add("mamba_attention", MixerPattern({mamba, attention}), Backbone::kMamba, pre_conv, /*window=*/4);
    add("deltanet_attention", MixerPattern({deltanet, attention}), Backbone::kTransformer, pre_conv);
    add("mamba_linear_linear_mlp", MixerPattern({mamba, linear, linear, mlp}), Backbone::kMamba, pre_conv);
  }
  testing::for_ttt_variants([&](MixerKind mixer, const testing::TttVariant& variant) {
    add(std::string(to_string(mixer)) + "_" + variant.name, mixer,
        mixer == linear ? Backbone::kTransformer : Backbone::kMamba, /*pre_conv=*/false);
    list.back().turn = variant.turn;
  });
  return list;
}

std::string case_name(const ::testing::TestParamInfo<Case>& instance) {
  return instance.param.name;
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
    config.num_layers = std::max<std::int64_t>(2, static_cast<std::int64_t>(config.mixer.kinds().size()));
    config.attention_window = GetParam().window;
    config.ttt_base_lr = config.mixer.contains(MixerKind::kTttMlp) ? 0.1 : 1.0;
    config.ttt_base_lr_init = config.ttt_base_lr;
    config.intermediate_size = 24;
    config.mini_batch_size = kMiniBatch;
    if (GetParam().turn != nullptr) GetParam().turn(config);
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

TEST_P(Law, StateBytesGrowOnlyWithFullAttention) {
  const torch::NoGradGuard no_grad;
  ModelState state = model_->initial_state(1);
  const auto fresh = state.bytes();
  model_->advance(tokens_.narrow(0, 0, 1), state);
  if (GetParam().mixer.contains(MixerKind::kAttention)) {
    EXPECT_GT(state.bytes(), fresh);
  } else {
    EXPECT_EQ(state.bytes(), fresh);
  }
  const torch::Tensor token = tokens_.narrow(0, 0, 1).narrow(1, 0, 1);
  for (int i = 0; i < 50; ++i) model_->advance(token, state);
  const auto after_50 = state.bytes();
  for (int i = 0; i < 150; ++i) model_->advance(token, state);
  const bool grows = GetParam().mixer.contains(MixerKind::kAttention) && GetParam().window == 0;
  EXPECT_EQ(state.bytes() > after_50, grows);
}

// Of whole sequences, and of documents, some of them a single token.
TEST_P(Law, RecomputingChangesNoGradient) {
  const torch::Tensor targets = tokens_.roll(-1, 1).contiguous();
  const std::vector<Segment> documents = {
      {0, 0, 1}, {0, 1, 1}, {0, 2, kTime - 2}, {1, 0, kTime - 1}, {1, kTime - 1, 1}};
  const auto gradients = [&](bool recompute, const std::vector<Segment>* segments) {
    ForwardContext context;
    context.recompute = recompute;
    context.segments = segments;
    model_->zero_grad();
    model_->token_loss(tokens_, targets, context).mean().backward();
    std::vector<torch::Tensor> list;
    for (const auto& parameter : model_->parameters()) list.push_back(parameter.grad().clone());
    return list;
  };
  for (const std::vector<Segment>* segments : {static_cast<const std::vector<Segment>*>(nullptr), &documents}) {
    const auto kept = gradients(false, segments), recomputed = gradients(true, segments);
    for (std::size_t i = 0; i < kept.size(); ++i)
      EXPECT_TRUE(torch::equal(kept[i], recomputed[i])) << i << (segments != nullptr ? ", documents" : "");
  }
}

// A document in a sample is computed as if it stood alone, forward and backward.
TEST_P(Law, SegmentsAreAsIfAlone) {
  constexpr std::int64_t kBos = 1;
  torch::Tensor tokens = tokens_.clone().masked_fill_(tokens_ == kBos, 2);
  for (const auto& [b, t] : std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 5}, {0, 6}, {1, 0}, {1, 9}})
    tokens[b][t] = kBos;
  const std::vector<Segment> segments = document_segments(tokens, kBos);
  ASSERT_EQ(segments.size(), 5u);
  const torch::Tensor targets = tokens.roll(-1, 1).contiguous();
  ForwardContext context;
  context.segments = &segments;
  model_->zero_grad();
  const torch::Tensor loss = model_->token_loss(tokens, targets, context);
  loss.sum().backward();
  std::vector<torch::Tensor> together;
  for (const auto& parameter : model_->parameters()) together.push_back(parameter.grad().clone());
  model_->zero_grad();
  for (const Segment& segment : segments) {
    const auto part = [&](const torch::Tensor& all) {
      return all.narrow(0, segment.sequence, 1).narrow(1, segment.begin, segment.length).contiguous();
    };
    const torch::Tensor alone = model_->token_loss(part(tokens), part(targets), {});
    EXPECT_LT(difference(part(loss), alone), 1e-12);
    alone.sum().backward();
  }
  std::size_t i = 0;
  for (const auto& parameter : model_->parameters()) {
    EXPECT_LT(difference(together[i], parameter.grad()), 1e-9 * (1 + parameter.grad().abs().max().item<double>()));
    ++i;
  }
  EXPECT_GT(difference(loss, model_->token_loss(tokens, targets, {})), 1e-4);
}

// The model in bf16 gives what fp32 gives, but for rounding: losses, gradients (fp32, of the fp32 parameters),
// decoding.
TEST_P(Law, Bf16FollowsFp32) {
  model_->to(torch::kFloat);
  const torch::Tensor inputs = tokens_.narrow(1, 0, kTime - 1), targets = tokens_.narrow(1, 1, kTime - 1);
  const auto gradients = [&] {
    model_->zero_grad();
    model_->token_loss(inputs, targets, {}).sum().backward();
    std::vector<torch::Tensor> all;
    for (const auto& item : model_->named_parameters()) {
      const torch::Tensor& gradient = item.value().grad();
      EXPECT_EQ(gradient.scalar_type(), torch::kFloat) << item.key();
      all.push_back(gradient.flatten());
    }
    return torch::cat(all);
  };
  const auto relative = [](const torch::Tensor& a, const torch::Tensor& b) {
    return ((a - b).norm() / b.norm()).item<double>();
  };
  const torch::Tensor logits = full(tokens_), exact = gradients();
  model_->set_bf16(true);
  const torch::Tensor rounded = full(tokens_);
  EXPECT_EQ(rounded.scalar_type(), torch::kBFloat16);
  EXPECT_GT(relative(rounded, logits), 1e-4);
  EXPECT_LT(relative(rounded, logits), 0.03);
  EXPECT_LT(relative(gradients(), exact), 0.15);
  EXPECT_LT(relative(in_pieces({3, 1, 1, 5, 4}), rounded), 0.03);
  model_->round_dense_weights();
  EXPECT_TRUE(torch::equal(full(tokens_), rounded));
}

INSTANTIATE_TEST_SUITE_P(Mixers, Law, ::testing::ValuesIn(all_cases()), case_name);

}  // namespace
}  // namespace ttt
