// The sampler: the exact distribution for each option, ties, boundaries, and that draws follow it.
#include "infer/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace ttt {
namespace {

// Logits of the probabilities 0.5, 0.25, 0.125, 0.125.
const std::vector<float> kLogits = {std::log(0.5F), std::log(0.25F), std::log(0.125F), std::log(0.125F)};

void expect_distribution(const std::vector<float>& logits, const SamplingOptions& options,
                         const std::vector<double>& expected) {
  const std::vector<double> p = sampling_distribution(logits, options);
  ASSERT_EQ(p.size(), expected.size());
  for (std::size_t v = 0; v < p.size(); ++v) {
    EXPECT_NEAR(p[v], expected[v], 1e-7) << v;  // the fp32 logits carry 6e-8
    if (expected[v] == 0) {
      EXPECT_EQ(p[v], 0) << v;
    }
  }
}

TEST(SamplingDistribution, IsTheSoftmaxByDefault) {
  expect_distribution(kLogits, {}, {0.5, 0.25, 0.125, 0.125});
}

TEST(SamplingDistribution, TemperatureScalesLogits) {
  // p^2 / sum p^2 = (16, 4, 1, 1) / 22
  expect_distribution(kLogits, {.temperature = 0.5}, {16 / 22.0, 4 / 22.0, 1 / 22.0, 1 / 22.0});
  expect_distribution({1, 3, 3}, {.temperature = 0}, {0, 1, 0});  // the lower id among equals
}

TEST(SamplingDistribution, TopKKeepsExactlyK) {
  expect_distribution(kLogits, {.top_k = 1}, {1, 0, 0, 0});
  expect_distribution(kLogits, {.top_k = 2}, {2 / 3.0, 1 / 3.0, 0, 0});
  expect_distribution(kLogits, {.top_k = 3}, {4 / 7.0, 2 / 7.0, 1 / 7.0, 0});  // of two equal ones the lower id
  expect_distribution(kLogits, {.top_k = 4}, {0.5, 0.25, 0.125, 0.125});
  expect_distribution(kLogits, {.top_k = 99}, {0.5, 0.25, 0.125, 0.125});
  expect_distribution({0, 0, 0, 0}, {.top_k = 2}, {0.5, 0.5, 0, 0});
}

TEST(SamplingDistribution, TopPKeepsTheFewestThatReachIt) {
  const std::vector<float> logits = {0, 0, 0, 0};  // 0.25 each, exactly
  expect_distribution(logits, {.top_p = 0.25}, {1, 0, 0, 0});
  expect_distribution(logits, {.top_p = 0.2500001}, {0.5, 0.5, 0, 0});
  expect_distribution(logits, {.top_p = 0.5}, {0.5, 0.5, 0, 0});
  expect_distribution(logits, {.top_p = 0.75}, {1 / 3.0, 1 / 3.0, 1 / 3.0, 0});
  expect_distribution(logits, {.top_p = 1.0}, {0.25, 0.25, 0.25, 0.25});
  expect_distribution(kLogits, {.top_p = 1e-9}, {1, 0, 0, 0});  // one at least
  expect_distribution({-1, 5, 2}, {.top_p = 0.5}, {0, 1, 0});
}

TEST(SamplingDistribution, TopPActsOnWhatTopKLeft) {
  // top-k 2 leaves (2/3, 1/3): the first alone reaches 0.6, of the whole distribution it would not.
  expect_distribution(kLogits, {.top_k = 2, .top_p = 0.6}, {1, 0, 0, 0});
  expect_distribution(kLogits, {.top_p = 0.6}, {2 / 3.0, 1 / 3.0, 0, 0});
}

TEST(SamplingDistribution, ExtremeLogits) {
  const float inf = std::numeric_limits<float>::infinity();
  expect_distribution({-inf, 0, -inf}, {}, {0, 1, 0});
  expect_distribution({1e30F, 0, 0}, {}, {1, 0, 0});
  // Both underflow to probability 0 beside the first; the larger logit still ranks before the other.
  expect_distribution({0, -2000, -1000}, {.top_k = 2}, {1, 0, 0});
  EXPECT_THROW(sampling_distribution(std::vector<float>{0, std::nanf("")}, {}), Error);
  EXPECT_THROW(sampling_distribution(std::vector<float>{-inf, -inf}, {}), Error);
  EXPECT_THROW(Sampler({.temperature = 0}, 0)(std::vector<float>{0, std::nanf("")}), Error);
}

TEST(Sampler, DrawsFollowTheDistribution) {
  const SamplingOptions options{.temperature = 0.7, .top_k = 3, .top_p = 0.99};
  const std::vector<double> p = sampling_distribution(kLogits, options);
  Sampler sampler(options, 42);
  constexpr int kDraws = 20000;
  std::vector<int> counts(kLogits.size());
  for (int n = 0; n < kDraws; ++n) ++counts[static_cast<std::size_t>(sampler(kLogits))];
  EXPECT_EQ(counts[3], 0);
  for (std::size_t v = 0; v < p.size(); ++v) {
    const double deviation = std::sqrt(kDraws * p[v] * (1 - p[v]));
    EXPECT_NEAR(counts[v], kDraws * p[v], 4 * deviation + 1e-9) << v;  // the seed is fixed: either always or never
  }
}

TEST(Sampler, IsAFunctionOfTheSeed) {
  const auto draws = [](std::uint64_t seed) {
    Sampler sampler({}, seed);
    std::vector<std::int32_t> tokens;
    for (int n = 0; n < 64; ++n) tokens.push_back(sampler(kLogits));
    return tokens;
  };
  EXPECT_EQ(draws(1), draws(1));
  EXPECT_NE(draws(1), draws(2));
}

TEST(Sampler, RefusesOptionsOutOfRange) {
  EXPECT_THROW(Sampler({.temperature = -1}, 0), UserError);
  EXPECT_THROW(Sampler({.temperature = std::nan("")}, 0), UserError);
  EXPECT_THROW(Sampler({.top_k = -1}, 0), UserError);
  EXPECT_THROW(Sampler({.top_p = 0}, 0), UserError);
  EXPECT_THROW(Sampler({.top_p = 1.1}, 0), UserError);
}

}  // namespace
}  // namespace ttt
