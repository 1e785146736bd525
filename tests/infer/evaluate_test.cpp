// evaluate() against a direct computation from the logits: order of samples, masking of BOS, the short last batch,
// bytes.
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
  const std::vector<std::int32_t> tokens = random_tokens(58, 37, 1);  // 5 samples, 7 tokens left over
  const Dataset data(prepare(tokens, 37, kBos));
  LanguageModel model(tiny(MixerKind::kTttLinear), 5);

  double total = 0;
  std::int64_t scored = 0;
  std::vector<double> expected;
  for (std::size_t i = 0; i < 5; ++i) {
    for (const double loss : direct(model, tokens, i * kContext, kContext)) {
      const bool counts = tokens[expected.size() + 1] != kBos;
      expected.push_back(counts ? loss : 0.0);
      if (counts) total += loss, ++scored;
    }
  }
  ASSERT_LT(scored, 50);  // the case has a BOS among its targets

  std::vector<float> got;
  const auto collect = [&](const torch::Tensor& loss_BT) {
    EXPECT_EQ(loss_BT.size(1), static_cast<std::int64_t>(kContext));
    const torch::Tensor flat = loss_BT.contiguous();
    got.insert(got.end(), flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel());
  };
  const EvalResult result = evaluate(model, data, {.context = kContext, .batch = 2}, collect);
  EXPECT_EQ(result.samples, 5);
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
  EXPECT_THROW(evaluate(fitting, data, {.context = 20}), UserError);  // 20 inputs and their targets are 21 tokens
  EXPECT_EQ(evaluate(fitting, data, {.context = 19}).samples, 1);
  LanguageModel other(tiny(MixerKind::kAttention, 41), 5);
  EXPECT_THROW(evaluate(other, data, {.context = 10}), UserError);
}

}  // namespace
}  // namespace ttt
