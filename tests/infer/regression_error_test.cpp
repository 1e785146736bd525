// Errors of in-context linear regression, on samples of which everything is known.
#include "infer/regression_error.h"

#include <gtest/gtest.h>

#include <cmath>

#include "data/task.h"
#include "infer/evaluate.h"
#include "infer/fixture.h"

namespace ttt {
namespace {

TEST(RegressionError, LeastSquaresKnowsTheFunctionAfterDPoints) {
  const TaskSettings settings("regression", {"dimension=3", "points=8"});
  std::optional<RegressionSums> sums = RegressionSums::of(settings.to_json());
  ASSERT_TRUE(sums);
  for (int i = 0; i < 300; ++i) {
    const TaskSample sample = task_sample(settings, 1, i);
    std::vector<double> truth;
    for (std::size_t p = 0; p < 8; ++p) truth.push_back(regression_value(sample.tokens[4 * p + 3]));
    sums->add(sample.tokens, truth);
  }
  const RegressionErrors errors = sums->means();
  EXPECT_EQ(errors.samples, 300);
  for (const double error : errors.model) EXPECT_EQ(error, 0);
  EXPECT_NEAR(errors.least_squares[0], 1, 0.25);  // nothing is known: the variance of y
  EXPECT_LT(errors.least_squares[1], errors.least_squares[0]);
  EXPECT_LT(errors.least_squares[7], 0.01);
  EXPECT_FALSE(RegressionSums::of(TaskSettings("parity", {}).to_json()));
  EXPECT_FALSE(RegressionSums::of(Json()));
}

TEST(RegressionError, ExpectedValuesAreMeansOverBins) {
  torch::Tensor logits = torch::zeros({2, 256});
  logits[1][200] = 1000;
  const torch::Tensor expected = expected_values(logits);
  EXPECT_NEAR(expected[0].item<double>(), 0, 1e-12);
  EXPECT_NEAR(expected[1].item<double>(), 200.5 / 32 - 4, 1e-12);
}

class SampleEvaluation : public InferTest {};

// Of samples, each for itself: what evaluate() counts, against counting by hand from the model's logits.
TEST_F(SampleEvaluation, CountsTokensAndWholeAnswers) {
  PrepareTask task{.task = "copy", .settings = {"items=6", "min_items=2", "vocab_size=9"}, .samples = 60};
  task.output = folder_ / "copy";
  prepare_task(task);
  const Dataset data(task.output);
  LanguageModel model(tiny(MixerKind::kAttention, 9), 5);
  EvalOptions options;
  options.samples = true;
  options.batch = 7;
  const EvalResult result = evaluate(model, data, options);
  const torch::NoGradGuard no_grad;
  EvalSums expected;
  std::map<std::int64_t, EvalSums> by_items;
  for (std::int64_t i = 0; i < 60; ++i) {
    const std::vector<std::int32_t> tokens = data.tokens(i * 13, 13);
    const std::vector<std::uint8_t> marks = data.marks(i * 13, 13);
    const std::vector<std::int64_t> inputs(tokens.begin(), tokens.end() - 1);
    const torch::Tensor logits = model.logits(model.hidden(torch::tensor(inputs, torch::kInt64).unsqueeze(0), {}))[0];
    EvalSums own;
    own.samples = own.answers = own.correct_answers = 1;
    for (std::int64_t t = 0; t < 12; ++t) {
      if ((marks[static_cast<std::size_t>(t + 1)] & kScored) == 0) continue;
      const std::int64_t target = tokens[static_cast<std::size_t>(t + 1)];
      const bool right = logits[t].argmax().item<std::int64_t>() == target;
      ++own.tokens;
      own.correct += right;
      own.correct_answers = own.correct_answers && right;
      own.nats -= torch::log_softmax(logits[t], 0)[target].item<double>();
    }
    expected += own;
    by_items[own.tokens] += own;
  }
  EXPECT_EQ(result.samples, 60);
  EXPECT_EQ(result.tokens, expected.tokens);
  EXPECT_EQ(result.totals.correct, expected.correct);
  EXPECT_EQ(result.totals.answers, 60);
  EXPECT_EQ(result.totals.correct_answers, expected.correct_answers);
  EXPECT_GT(expected.correct, 0);
  EXPECT_NEAR(result.loss, expected.nats / static_cast<double>(expected.tokens), 1e-5);
  EXPECT_EQ(result.by_length.size(), 1u);
  EXPECT_EQ(result.by_length.at(13).tokens, expected.tokens);
  ASSERT_EQ(result.by_items.size(), by_items.size());
  for (const auto& [items, sums] : by_items) {
    EXPECT_EQ(result.by_items.at(items).correct, sums.correct) << items;
    EXPECT_EQ(result.by_items.at(items).answers, sums.answers) << items;
    EXPECT_NEAR(result.by_items.at(items).nats, sums.nats, 1e-4) << items;
  }
  // As windows of a stream, the model sees the samples before; the same targets are scored.
  EXPECT_EQ(evaluate(model, data, {.context = 13}).tokens, expected.tokens);
  EXPECT_EQ(evaluate(model, data, {.context = 13}).totals.answers, 60);
  EXPECT_GT(evaluate(model, data, {.context = 40}).totals.answers, 60);  // windows cut some
}

}  // namespace
}  // namespace ttt
