// n-gram models against hand computation, and as probability distributions.
#include "infer/ngram.h"

#include <cmath>

#include "base/rng.h"
#include "data/scratch.h"
#include "data/writer.h"

namespace ttt {
namespace {

constexpr std::int32_t kA = 0, kB = 1, kC = 2;

TEST(Ngram, ProbabilitiesByHand) {
  // a a b a c over a vocabulary of 4. Unigrams: a 3, b 1, c 1: n1 = 2, n2 = 0, so d = 0.75.
  //   p1(a) = (3 - .75)/5 + .75 * 3/5 / 4 = .45 + .1125 = .5625;   p1(b) = p1(c) = .05 + .1125 = .1625;   p1(d) = .1125
  // Bigrams: aa, ab, ba, ac once each; d = 0.75. After a: 3 seen, 3 kinds:
  //   p2(b | a) = .25/3 + .75 p1(b);   p2(d | a) = .75 p1(d);   after b: p2(a | b) = .25 + .75 p1(a);   after c
  //   nothing: p1.
  const std::vector<std::int32_t> tokens = {kA, kA, kB, kA, kC};
  const NgramModel model(tokens, 4, 2, std::nullopt);
  EXPECT_DOUBLE_EQ(model.discount(1), 0.75);
  const auto probability = [&](std::int32_t history, std::int32_t token, int order) {
    double logs[2];
    model.log_probs(std::vector<std::int32_t>{history, token}, 1, logs);
    return std::exp(logs[order - 1]);
  };
  EXPECT_NEAR(probability(kB, kA, 1), 0.5625, 1e-12);
  EXPECT_NEAR(probability(kB, kC, 1), 0.1625, 1e-12);
  EXPECT_NEAR(probability(kB, 3, 1), 0.1125, 1e-12);
  EXPECT_NEAR(probability(kA, kB, 2), 0.25 / 3 + 0.75 * 0.1625, 1e-12);
  EXPECT_NEAR(probability(kA, 3, 2), 0.75 * 0.1125, 1e-12);
  EXPECT_NEAR(probability(kB, kA, 2), 0.25 + 0.75 * 0.5625, 1e-12);
  EXPECT_NEAR(probability(kC, kA, 2), 0.5625, 1e-12);
}

TEST(Ngram, DiscountIsEstimatedAndHistoriesAtTheStartAreCut) {
  // b once, c twice, a four times: d1 = 1 / (1 + 2).
  const std::vector<std::int32_t> tokens = {kA, kA, kB, kA, kC, kA, kC};
  const NgramModel model(tokens, 3, 3, std::nullopt);
  EXPECT_DOUBLE_EQ(model.discount(1), 1.0 / 3);
  double logs[3];
  model.log_probs(tokens, 0, logs);
  EXPECT_DOUBLE_EQ(logs[1], logs[0]);
  EXPECT_DOUBLE_EQ(logs[2], logs[0]);
  model.log_probs(tokens, 1, logs);
  EXPECT_NE(logs[1], logs[0]);
  EXPECT_DOUBLE_EQ(logs[2], logs[1]);
}

TEST(Ngram, EveryHistoryGivesADistribution) {
  CounterRng rng(3);
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < 2000; ++i) tokens.push_back(static_cast<std::int32_t>(rng.next() % 11 * (rng.next() % 2)));
  const NgramModel model(tokens, 12, 3, std::nullopt);  // token 11 never occurs
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<std::int32_t> text = {static_cast<std::int32_t>(rng.next() % 12),
                                      static_cast<std::int32_t>(rng.next() % 12), 0};
    double sums[3] = {0, 0, 0}, logs[3];
    for (text[2] = 0; text[2] < 12; ++text[2]) {
      model.log_probs(text, 2, logs);
      for (int k = 0; k < 3; ++k) sums[k] += std::exp(logs[k]);
    }
    for (const double sum : sums) EXPECT_NEAR(sum, 1.0, 1e-9);
  }
}

void write_set(const fs::path& directory, const std::vector<std::int32_t>& tokens, std::int64_t vocab_size,
               std::optional<std::int32_t> bos_id) {
  DatasetWriter writer({.directory = directory, .vocab_size = vocab_size, .bos_id = bos_id, .eos_id = std::nullopt});
  writer.begin_document();
  writer.append(tokens);
  writer.commit();
}

TEST(NgramBaseline, ScoresTheTargetsThatEvaluationScores) {
  const ScratchFolder folder;
  write_set(folder / "train", {3, kA, kB, kA, kC, 3, kA, kA}, 4, 3);
  write_set(folder / "valid", {3, kA, kB, 3, kA, kC, kA, kB}, 4, 3);
  const Dataset train(folder / "train"), valid(folder / "valid");
  EXPECT_EQ(ngram_baseline(train, valid, 2).tokens, 6);        // all but the first token and the second BOS
  EXPECT_EQ(ngram_baseline(train, valid, 2, 3).tokens, 6);     // likewise, the last window is shorter
  EXPECT_EQ(ngram_baseline(train, valid, 2, 3, 2).tokens, 5);  // two windows of 3: targets 1..6
  EXPECT_EQ(ngram_baseline(train, valid, 2, 3, 3).tokens, 6);  // the third has one target
  EXPECT_EQ(ngram_baseline(train, valid, 2, 90).tokens, 6);
  EXPECT_EQ(ngram_baseline(train, valid, 2, 3, 1).tokens, 2);  // targets 1..3, of which one is BOS
  // Sample 1 alone, by hand: unigrams without BOS: a 4, b 1, c 1, d = .75, N = 3:
  //   p1(a) = 3.25/6 + .75 * 3/6/4 = .635416..;  p1(b) = .25/6 + .09375 = .135416..
  const NgramBaseline result = ngram_baseline(train, valid, 1, 3, 1);
  EXPECT_NEAR(result.scores[0].loss, -(std::log(3.25 / 6 + 0.09375) + std::log(0.25 / 6 + 0.09375)) / 2, 1e-12);
  EXPECT_TRUE(std::isnan(result.scores[0].bits_per_byte));  // no tokenizer
}

TEST(NgramBaseline, SetsThatDoNotFitAreNamed) {
  const ScratchFolder folder;
  write_set(folder / "train", {0, 1, 2}, 4, std::nullopt);
  write_set(folder / "other", {0, 1, 2}, 5, std::nullopt);
  const Dataset train(folder / "train"), other(folder / "other");
  EXPECT_TRUE(mentions(user_error_of([&] { ngram_baseline(train, other, 2); }), {"train", "other", "same tokenizer"}));
  write_set(folder / "single", {1}, 4, std::nullopt);
  const Dataset single(folder / "single");
  EXPECT_TRUE(
      mentions(user_error_of([&] { ngram_baseline(train, single, 2, 3); }), {"single", "too few", "more text"}));
}

}  // namespace
}  // namespace ttt
