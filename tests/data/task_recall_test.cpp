// Tasks of recall (MQAR, induction, fuzzy recall, memorisation): every answer derived again from the sample by brute
// force, distributions against the published definitions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "data/task_testing.h"

namespace ttt {
namespace {

// Width 2: key value; width 3: two tokens of a key, value.
void check_mqar(const TaskSample& sample, std::size_t writes, std::size_t pairs, std::size_t width, std::int32_t V) {
  std::map<Tokens, std::int32_t> table;
  std::set<std::int32_t> values;
  for (std::size_t i = 0; i < writes; ++i) {
    const Tokens key = part(sample, i * width, (i + 1) * width - 1);
    const std::int32_t value = sample.tokens[(i + 1) * width - 1];
    for (const std::int32_t token : key) EXPECT_TRUE(token >= 1 && token < V / 2) << token;
    EXPECT_TRUE(value >= V / 2 && value < V) << value;
    EXPECT_TRUE(values.insert(value).second) << "values are drawn without replacement";
    table[key] = value;
  }
  EXPECT_EQ(table.size(), pairs);
  std::set<Tokens> asked;
  for (const std::vector<std::size_t>& answer : answers_of(sample)) {
    ASSERT_EQ(answer.size(), 1u);
    const std::size_t place = answer[0];
    ASSERT_GE(place + 1, width * (writes + 1));
    EXPECT_EQ(place % width, width - 1) << "slots are whole";
    const Tokens key = part(sample, place + 1 - width, place);
    ASSERT_TRUE(table.contains(key));
    EXPECT_EQ(sample.tokens[place], table[key]);
    EXPECT_TRUE(asked.insert(key).second) << "a key is asked for once";
  }
  EXPECT_EQ(asked.size(), pairs);
  EXPECT_EQ(sample.items, pairs);
}

TEST(Task, MqarAnswersAreTheValuesOfTheirKeys) {
  for_samples("mqar", {"length=64", "pairs=4", "vocab_size=512"}, 200,
              [](const TaskSample& s) { check_mqar(s, 4, 4, 2, 512); });
  for_samples("mqar", {"length=256", "pairs=64", "vocab_size=8192"}, 20,
              [](const TaskSample& s) { check_mqar(s, 64, 64, 2, 8192); });
  for_samples("mqar", {"length=8", "pairs=2", "vocab_size=6"}, 50,
              [](const TaskSample& s) { check_mqar(s, 2, 2, 2, 6); });  // no room to spare
  bool rewritten_late = false;
  for_samples("mqar", {"length=80", "pairs=8", "vocab_size=64", "kind=forgetting", "rewrites=5"}, 200,
              [&](const TaskSample& s) {
                check_mqar(s, 13, 8, 2, 64);
                std::map<std::int32_t, int> times;
                for (std::size_t i = 0; i < 13; ++i) ++times[s.tokens[2 * i]];
                int twice = 0;
                for (const auto& [key, count] : times) twice += count == 2;
                EXPECT_EQ(twice, 5);
                rewritten_late = rewritten_late || times[s.tokens[24]] == 2;
              });
  EXPECT_TRUE(rewritten_late);
  for_samples("mqar", {"length=90", "pairs=9", "vocab_size=64", "kind=compositional"}, 200, [](const TaskSample& s) {
    check_mqar(s, 9, 9, 3, 64);
    // Neither token of a key tells which key it is.
    std::map<std::int32_t, int> firsts, seconds;
    for (std::size_t i = 0; i < 9; ++i) ++firsts[s.tokens[3 * i]], ++seconds[s.tokens[3 * i + 1]];
    EXPECT_LE(firsts.size(), 3u);
    EXPECT_LE(seconds.size(), 3u);
  });
}

// Slot i is drawn with p(i) ~ i^(a-1), a = 0.01; what is free is uniform over the vocabulary; keys are uniform.
TEST(Task, MqarIsDistributedAsPublished) {
  constexpr int kSamples = 20000;
  const TaskSettings s("mqar", {"length=32", "pairs=1", "vocab_size=16"});
  std::vector<double> slot_counts(15, 0.0), filler(16, 0.0), keys(8, 0.0), values(16, 0.0);
  double fillers = 0;
  for (int i = 0; i < kSamples; ++i) {
    const TaskSample sample = task_sample(s, 1, i);
    ++keys[static_cast<std::size_t>(sample.tokens[0])];
    ++values[static_cast<std::size_t>(sample.tokens[1])];
    const std::size_t place = answers_of(sample)[0][0];
    ++slot_counts[(place - 3) / 2];
    for (std::size_t t = 2; t < 32; ++t) {
      if (t == place || t + 1 == place) continue;
      ++filler[static_cast<std::size_t>(sample.tokens[t])];
      ++fillers;
    }
  }
  double norm = 0;
  for (int i = 1; i <= 15; ++i) norm += std::pow(i, 0.01 - 1);
  double chi2 = 0;
  for (int i = 1; i <= 15; ++i) {
    const double expected = kSamples * std::pow(i, 0.01 - 1) / norm;
    chi2 += std::pow(slot_counts[static_cast<std::size_t>(i - 1)] - expected, 2) / expected;
  }
  EXPECT_LT(chi2, 36.1) << "14 degrees of freedom, 99.9 %";
  for (const double count : filler) EXPECT_NEAR(count / fillers, 1.0 / 16, 0.002);
  EXPECT_EQ(keys[0], 0);
  for (std::size_t k = 1; k < 8; ++k) EXPECT_NEAR(keys[k] / kSamples, 1.0 / 7, 0.012);
  for (std::size_t v = 8; v < 16; ++v) EXPECT_NEAR(values[v] / kSamples, 1.0 / 8, 0.012);
  // Two gaps without replacement: both orders of a pair as successive draws have them.
  CounterRng rng(4);
  std::map<std::pair<std::int64_t, std::int64_t>, int> pairs;
  for (int i = 0; i < kSamples; ++i) {
    const std::vector<std::int64_t> drawn = draw_weighted(rng, {3, 2, 1}, 2);
    ++pairs[{drawn[0], drawn[1]}];
  }
  EXPECT_NEAR(pairs[std::pair(0L, 1L)] / static_cast<double>(kSamples), 0.5 * 2 / 3, 0.012);
  EXPECT_NEAR(pairs[std::pair(2L, 1L)] / static_cast<double>(kSamples), 1.0 / 6 * 2 / 5, 0.008);
  EXPECT_NEAR(pairs[std::pair(1L, 0L)] / static_cast<double>(kSamples), 1.0 / 3 * 3 / 4, 0.012);
}

TEST(Task, InductionRepeatsWhatStoodBehindTheMark) {
  std::vector<int> places(13, 0);
  for_samples("induction", {"length=16", "vocab_size=10"}, 3000, [&](const TaskSample& s) {
    ASSERT_EQ(std::count(s.tokens.begin(), s.tokens.end(), 1), 2);
    const auto first = std::find(s.tokens.begin(), s.tokens.end(), 1) - s.tokens.begin();
    EXPECT_EQ(s.tokens[14], 1);
    ASSERT_EQ(answers_of(s), (std::vector<std::vector<std::size_t>>{{15}}));
    ASSERT_LT(first, 12);  // a token stands between x and the mark
    EXPECT_EQ(s.tokens[15], s.tokens[static_cast<std::size_t>(first) + 1]);
    ++places[static_cast<std::size_t>(first)];
  });
  for (std::size_t i = 0; i < 12; ++i) EXPECT_NEAR(places[i], 3000.0 / 12, 75) << i;
}

TEST(Task, FuzzyRecallAnswersWithTheWholeValue) {
  std::set<std::size_t> key_sizes, value_sizes;
  for_samples("fuzzy_recall", {"pairs=5", "vocab_size=24"}, 300, [&](const TaskSample& s) {
    const auto is_key = [](std::int32_t token) { return token >= 2 && token < 13; };
    const auto ask = static_cast<std::size_t>(std::find(s.tokens.begin(), s.tokens.end(), 1) - s.tokens.begin());
    std::map<Tokens, Tokens> table;
    for (std::size_t at = 0; at < ask;) {
      Tokens key, value;
      while (at < ask && is_key(s.tokens[at])) key.push_back(s.tokens[at++]);
      while (at < ask && !is_key(s.tokens[at])) value.push_back(s.tokens[at++]);
      table[key] = value;
      key_sizes.insert(key.size()), value_sizes.insert(value.size());
    }
    ASSERT_EQ(table.size(), 5u);
    std::set<Tokens> asked;
    std::size_t at = ask + 1;
    for (const std::vector<std::size_t>& answer : answers_of(s)) {
      const Tokens key = part(s, at, answer.front());
      at = answer.back() + 1;
      ASSERT_TRUE(table.contains(key));
      EXPECT_EQ(part(s, answer.front(), at), table[key]);
      asked.insert(key);
    }
    EXPECT_EQ(asked.size(), 5u);
    for (; at < s.tokens.size(); ++at) EXPECT_EQ(s.tokens[at], 0);
  });
  EXPECT_EQ(key_sizes, (std::set<std::size_t>{1, 2, 3}));
  EXPECT_EQ(value_sizes, (std::set<std::size_t>{1, 2, 3}));
}

TEST(Task, MemorisationHasOneTable) {
  std::map<std::int32_t, std::int32_t> table;
  const TaskSettings s("memorisation", {"length=16", "vocab_size=40"}),
      other("memorisation", {"length=16", "vocab_size=40", "table=1"});
  bool differs = false;
  for (std::uint64_t seed : {1, 2}) {
    for (int i = 0; i < 200; ++i) {
      const TaskSample sample = task_sample(s, seed, i);
      for (std::size_t t = 0; t < 16; t += 2) {
        EXPECT_LT(sample.tokens[t], 20);
        EXPECT_GE(sample.tokens[t + 1], 20);
        const auto [entry, is_new] = table.emplace(sample.tokens[t], sample.tokens[t + 1]);
        EXPECT_EQ(entry->second, sample.tokens[t + 1]);
        EXPECT_EQ(sample.marks[t], 0);
        EXPECT_EQ(sample.marks[t + 1], kScored | kFirstOfAnswer);
      }
      const TaskSample again = task_sample(other, seed, i);
      differs = differs || table[again.tokens[0]] != again.tokens[1];
    }
  }
  EXPECT_EQ(table.size(), 20u);
  EXPECT_TRUE(differs);
}

}  // namespace
}  // namespace ttt
