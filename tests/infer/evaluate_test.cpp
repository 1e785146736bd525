// evaluate() against a direct computation from the logits: order of samples, masking of BOS, the short last batch and
// window, bytes.
#include "infer/evaluate.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "infer/fixture.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

class EvaluateTest : public InferTest {
 protected:
  // -log p of token i+1 after tokens [begin, i], by log-softmax in fp64 of the model's logits.
  static std::vector<double> direct(LanguageModel& model, const std::vector<std::int32_t>& tokens, std::size_t begin,
                                    std::size_t count) {
    torch::NoGradGuard no_grad;
    const std::vector<std::int64_t> input(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                                          tokens.begin() + static_cast<std::ptrdiff_t>(begin + count));
    const torch::Tensor logits =
        model.logits(model.hidden(torch::tensor(input, torch::kInt64).unsqueeze(0), ForwardContext{})).squeeze(0);
    const torch::Tensor log_p = torch::log_softmax(logits.to(torch::kFloat64), -1);
    std::vector<double> losses;
    for (std::size_t t = 0; t < count; ++t) {
      losses.push_back(-log_p[static_cast<std::int64_t>(t)][tokens[begin + t + 1]].item<double>());
    }
    return losses;
  }
};

TEST_F(EvaluateTest, EqualsTheDirectComputation) {
  constexpr std::int32_t kBos = 3;
  constexpr std::size_t kContext = 10;
  const std::vector<std::int32_t> tokens = random_tokens(58, 37, 1);  // 57 targets: 5 windows and one of 7
  const Dataset data(prepare(tokens, 37, kBos));
  LanguageModel model(tiny(MixerKind::kTttLinear), 5);

  double total = 0;
  std::int64_t scored = 0;
  std::vector<double> expected;
  for (std::size_t i = 0; i < 6; ++i) {
    for (const double loss : direct(model, tokens, i * kContext, i < 5 ? kContext : 7)) {
      const bool counts = tokens[expected.size() + 1] != kBos;
      expected.push_back(counts ? loss : 0.0);
      if (counts) total += loss, ++scored;
    }
  }
  expected.resize(60, 0.0);  // what the last window lacks
  ASSERT_LT(scored, 57);     // the case has a BOS among its targets

  std::vector<float> got;
  const auto collect = [&](const torch::Tensor& loss_BT) {
    EXPECT_EQ(loss_BT.size(1), static_cast<std::int64_t>(kContext));
    const torch::Tensor flat = loss_BT.contiguous();
    got.insert(got.end(), flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel());
  };
  const EvalResult result = evaluate(model, data, {.context = kContext, .batch = 2}, collect);
  EXPECT_EQ(result.samples, 6);
  EXPECT_EQ(result.tokens, scored);
  EXPECT_NEAR(result.loss, total / static_cast<double>(scored), 1e-5);
  EXPECT_TRUE(std::isnan(result.bits_per_byte));  // no tokenizer, no bytes
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 2e-5) << i;
}

TEST_F(EvaluateTest, MaxSamplesTakesTheFirst) {
  const std::vector<std::int32_t> tokens = random_tokens(61, 37, 2);
  const Dataset data(prepare(tokens, 37));
  LanguageModel model(tiny(MixerKind::kAttention), 5);
  double total = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    for (const double loss : direct(model, tokens, i * 12, 12)) total += loss;
  }
  const EvalResult result = evaluate(model, data, {.context = 12, .batch = 2, .max_samples = 3});
  EXPECT_EQ(result.samples, 3);
  EXPECT_EQ(result.tokens, 36);
  EXPECT_NEAR(result.loss, total / 36, 1e-5);
}

// Every target is scored once whatever the context, also where the set is shorter than one.
TEST_F(EvaluateTest, ScoresTheTailOfASet) {
  const std::vector<std::int32_t> tokens = random_tokens(30, 37, 4);
  const Dataset data(prepare(tokens, 37));
  LanguageModel model(tiny(MixerKind::kTttMlp), 5);
  for (const std::int64_t context : {1, 7, 10, 28, 29, 30, 1000}) {
    const EvalResult result = evaluate(model, data, {.context = context, .batch = 2});
    EXPECT_EQ(result.tokens, 29) << context;
    EXPECT_EQ(result.samples, num_windows(data, context)) << context;
  }
  EXPECT_EQ(num_windows(data, 29), 1);
  EXPECT_EQ(num_windows(data, 28), 2);
  double total = 0;
  for (const double loss : direct(model, tokens, 0, 29)) total += loss;
  EXPECT_NEAR(evaluate(model, data, {.context = 1000}).loss, total / 29, 1e-5);
  EXPECT_EQ(evaluate(model, data, {.context = 10, .max_samples = 2}).tokens, 20);
  EXPECT_EQ(evaluate(model, data, {.context = 10, .max_samples = 3}).tokens, 29);
}

// Several processes take the batches in turn, the shorter last one included.
TEST_F(EvaluateTest, SharesAddUpToTheWhole) {
  const Dataset data(prepare(random_tokens(48, 37, 6), 37));  // 47 targets: 4 windows of 10 and one of 7
  LanguageModel model(tiny(MixerKind::kTttLinear), 5);
  const EvalResult whole = evaluate(model, data, {.context = 10, .batch = 1});
  std::vector<std::vector<EvalSums>> rounds(2);  // by rank
  for (std::int64_t rank : {0, 1}) {
    EvalOptions options{.context = 10, .batch = 1};
    auto& own_rounds = rounds[static_cast<std::size_t>(rank)];
    options.share = {rank, 2, [&](const EvalSums& own) {
                       own_rounds.push_back(own);
                       return std::vector<EvalSums>{own};
                     }};
    evaluate(model, data, options);
  }
  ASSERT_EQ(rounds[0].size(), 3u);
  ASSERT_EQ(rounds[1].size(), 3u);
  double nats = 0;
  std::int64_t tokens = 0, samples = 0;
  for (std::size_t round = 0; round < 3; ++round) {
    for (const auto& own : rounds) {
      nats += own[round].nats;
      tokens += own[round].tokens;
      samples += own[round].samples;
    }
  }
  EXPECT_EQ(tokens, 47);
  EXPECT_EQ(samples, 5);
  EXPECT_EQ(nats / 47, whole.loss);
}

TEST_F(EvaluateTest, BitsPerByteCountsTheBytesOfTheTargets) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += cat("int value_", i, " = ", i * i, ";\n");
  write_file_atomically(folder_ / "text.txt", text);
  train_small_tokenizer(folder_ / "text.txt", folder_ / "t.model", 300);
  const Tokenizer tokenizer(folder_ / "t.model");
  std::vector<std::int32_t> tokens = tokenizer.encode(text);
  tokens.resize(65);
  const Dataset data(prepare(tokens, tokenizer.vocab_size(), {}, folder_ / "t.model"));
  LanguageModel model(tiny(MixerKind::kTttMlp, tokenizer.vocab_size()), 5);
  const EvalResult result = evaluate(model, data, {.context = 32, .batch = 1});
  // The targets are tokens 1..64, and the text's bytes without the first token's.
  const std::size_t bytes = tokenizer.decode({tokens.begin() + 1, tokens.end()}).size();
  EXPECT_EQ(result.tokens, 64);
  EXPECT_NEAR(result.bits_per_byte, result.loss * 64 / std::log(2.0) / static_cast<double>(bytes), 1e-9);
}

TEST_F(EvaluateTest, RefusesWhatDoesNotFit) {
  const Dataset data(prepare(random_tokens(20, 37, 3), 37));
  LanguageModel fitting(tiny(MixerKind::kAttention), 5);
  const Dataset single(prepare({5}, 37));
  EXPECT_THROW(evaluate(fitting, single, {.context = 20}), UserError);  // an input without a target
  LanguageModel other(tiny(MixerKind::kAttention, 41), 5);
  EXPECT_THROW(evaluate(other, data, {.context = 10}), UserError);
}

}  // namespace
}  // namespace ttt
