// Tasks: every answer derived again from the sample by brute force, distributions against the published definitions,
// and that nothing which is scored can be read off the tokens before it. Data sets of tasks and of prompts with
// answers.
#include "data/task.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "data/dataset.h"
#include "data/mixture.h"
#include "data/prepare.h"
#include "data/scratch.h"
#include "data/statistics.h"
#include "data/writer.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

using Tokens = std::vector<std::int32_t>;

// The scored tokens by place, answers told apart.
std::vector<std::vector<std::size_t>> answers_of(const TaskSample& sample) {
  std::vector<std::vector<std::size_t>> answers;
  for (std::size_t i = 0; i < sample.marks.size(); ++i) {
    if (sample.marks[i] == 0) continue;
    EXPECT_TRUE(sample.marks[i] & kScored) << i;
    const bool goes_on = i > 0 && (sample.marks[i - 1] & kScored) && !(sample.marks[i] & kFirstOfAnswer);
    if (!goes_on) {
      EXPECT_TRUE(sample.marks[i] & kFirstOfAnswer) << i;
      answers.emplace_back();
    }
    answers.back().push_back(i);
  }
  return answers;
}

Tokens answer_tokens(const TaskSample& sample, std::size_t number = 0) {
  Tokens tokens;
  const std::vector<std::vector<std::size_t>> answers = answers_of(sample);
  for (const std::size_t place : answers.at(number)) tokens.push_back(sample.tokens[place]);
  return tokens;
}

Tokens part(const TaskSample& sample, std::size_t begin, std::size_t end) {
  return {sample.tokens.begin() + static_cast<std::ptrdiff_t>(begin),
          sample.tokens.begin() + static_cast<std::ptrdiff_t>(end)};
}

void for_samples(const std::string& task, const std::vector<std::string>& settings, std::int64_t count,
                 const std::function<void(const TaskSample&)>& check) {
  const TaskSettings s(task, settings);
  for (std::int64_t i = 0; i < count; ++i) {
    SCOPED_TRACE(task + " sample " + std::to_string(i));
    const TaskSample sample = task_sample(s, 3, i);
    EXPECT_GT(sample.items, 0u);
    EXPECT_EQ(sample.marks.at(0), 0) << "no token comes before the first";
    check(sample);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Task, SamplesAreAPureFunctionOfSeedAndIndex) {
  for (const Task* task : all_tasks()) {
    if (task->needs_text()) continue;
    const TaskSettings s(task->name(), {});
    const TaskSample a = task_sample(s, 5, 17), again = task_sample(s, 5, 17), other = task_sample(s, 5, 18),
                     seeded = task_sample(s, 6, 17);
    EXPECT_EQ(a.tokens, again.tokens) << task->name();
    EXPECT_EQ(a.marks, again.marks) << task->name();
    EXPECT_NE(a.tokens, other.tokens) << task->name();
    EXPECT_NE(a.tokens, seeded.tokens) << task->name();
    EXPECT_FALSE(answers_of(a).empty()) << task->name();
  }
}

// --- recall ---

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

// --- copies ---

TEST(Task, CopiesAreWhatWasRead) {
  std::map<std::size_t, int> sizes;
  for_samples("copy", {"items=9", "min_items=4", "vocab_size=11"}, 600, [&](const TaskSample& s) {
    const auto n = static_cast<std::size_t>(std::find(s.tokens.begin(), s.tokens.end(), 1) - s.tokens.begin());
    EXPECT_EQ(n, s.items);
    ++sizes[n];
    ASSERT_EQ(answers_of(s).size(), 1u);
    EXPECT_EQ(answers_of(s)[0].front(), n + 1);
    EXPECT_EQ(answer_tokens(s), part(s, 0, n));
    for (std::size_t i = 2 * n + 1; i < s.tokens.size(); ++i) EXPECT_EQ(s.tokens[i], 0);
    EXPECT_EQ(s.tokens.size(), 19u);
  });
  for (std::size_t n = 4; n <= 9; ++n) EXPECT_NEAR(sizes[n], 100, 40) << n;
  for_samples("palindrome", {"items=7", "vocab_size=11"}, 100, [](const TaskSample& s) {
    Tokens backwards = part(s, 0, 7);
    std::reverse(backwards.begin(), backwards.end());
    EXPECT_EQ(s.tokens[7], 1);
    EXPECT_EQ(part(s, 8, 15), backwards);
    EXPECT_EQ(answer_tokens(s), Tokens(backwards.begin() + 1, backwards.end()));
  });
  for_samples("selective_copy", {"length=20", "items=6", "vocab_size=12"}, 200, [](const TaskSample& s) {
    Tokens symbols;
    for (std::size_t i = 0; i < 20; ++i) {
      EXPECT_GE(s.tokens[i], 2);
      if (s.tokens[i] != 2) symbols.push_back(s.tokens[i]);
    }
    EXPECT_EQ(symbols.size(), 6u);
    EXPECT_EQ(s.tokens[20], 1);
    EXPECT_EQ(answer_tokens(s), symbols);
    EXPECT_EQ(s.tokens.size(), 27u);
  });
}

TEST(Task, StacksAreLastInFirstOut) {
  std::size_t pops = 0, operations = 0, deep = 0;
  for_samples("stack", {"length=91", "stacks=3", "symbols=9"}, 200, [&](const TaskSample& s) {
    std::map<std::int32_t, Tokens> stacks;
    for (std::size_t i = 0; i + 2 < 91; i += 3) {
      const std::int32_t id = s.tokens[i + 1], symbol = s.tokens[i + 2];
      EXPECT_TRUE(id >= 3 && id < 6 && symbol >= 6 && symbol < 15);
      EXPECT_EQ(s.marks[i] | s.marks[i + 1], 0);
      ++operations;
      if (s.tokens[i] == 1) {
        stacks[id].push_back(symbol);
        EXPECT_EQ(s.marks[i + 2], 0);
        continue;
      }
      ASSERT_EQ(s.tokens[i], 2);
      ASSERT_FALSE(stacks[id].empty());
      EXPECT_EQ(symbol, stacks[id].back());
      EXPECT_EQ(s.marks[i + 2], kScored | kFirstOfAnswer);
      stacks[id].pop_back();
      deep += stacks[id].size() > 2;
      ++pops;
    }
    EXPECT_EQ(s.tokens[90], 0);
  });
  EXPECT_GT(pops, operations / 3);
  EXPECT_GT(deep, 100u);
}

TEST(Task, CompressionAsksForEveryPlace) {
  for_samples("compression", {"items=6", "symbols=5"}, 100, [](const TaskSample& s) {
    EXPECT_EQ(s.tokens[6], 1);
    std::set<std::int32_t> places;
    for (std::size_t i = 7; i < 19; i += 2) {
      const std::int32_t place = s.tokens[i] - 2;
      ASSERT_TRUE(place >= 0 && place < 6);
      places.insert(place);
      EXPECT_EQ(s.tokens[i + 1], s.tokens[static_cast<std::size_t>(place)]);
      EXPECT_EQ(s.marks[i + 1], kScored | kFirstOfAnswer);
      EXPECT_EQ(s.marks[i], 0);
    }
    EXPECT_EQ(places.size(), 6u);
  });
}

// --- states ---

// What stands before the question mark; the answer behind it alone is scored, and padding follows.
Tokens question_of(const TaskSample& s) {
  const auto ask = static_cast<std::size_t>(std::find(s.tokens.begin(), s.tokens.end(), 1) - s.tokens.begin());
  EXPECT_EQ(answers_of(s), (std::vector<std::vector<std::size_t>>{{ask + 1}}));
  for (std::size_t i = ask + 2; i < s.tokens.size(); ++i) EXPECT_EQ(s.tokens[i], 0);
  return part(s, 0, ask);
}

TEST(Task, ParityIsOfAllBits) {
  std::map<std::size_t, int> lengths;
  int odd = 0;
  for_samples("parity", {"min_length=3", "max_length=12"}, 2000, [&](const TaskSample& s) {
    const Tokens bits = question_of(s);
    EXPECT_EQ(bits.size(), s.items);
    EXPECT_EQ(s.tokens.size(), 14u);
    ++lengths[bits.size()];
    EXPECT_EQ(answer_tokens(s)[0] - 2, std::count(bits.begin(), bits.end(), 3) % 2);
    odd += answer_tokens(s)[0] - 2;
  });
  for (std::size_t n = 3; n <= 12; ++n) EXPECT_NEAR(lengths[n], 200, 60) << n;
  EXPECT_NEAR(odd, 1000, 90);
}

TEST(Task, ModularExpressionsHaveTheirValue) {
  for_samples("modular", {"min_length=1", "max_length=9", "modulus=7"}, 500, [](const TaskSample& s) {
    const Tokens expression = question_of(s);
    // Sums of products, in integers.
    std::vector<long long> terms = {expression[0] - 5};
    for (std::size_t i = 1; i < expression.size(); i += 2) {
      const long long number = expression[i + 1] - 5;
      ASSERT_TRUE(number >= 0 && number < 7);
      if (expression[i] == 4) {
        terms.back() *= number;
      } else {
        terms.push_back(expression[i] == 2 ? number : -number);
      }
    }
    const long long value = std::accumulate(terms.begin(), terms.end(), 0LL);
    EXPECT_EQ(answer_tokens(s)[0] - 5, ((value % 7) + 7) % 7);
  });
}

// Words multiplied as permutations of points; the elements found again by their products of two.
TEST(Task, GroupWordsAreTheirProducts) {
  for (const auto& [name, order] : {std::pair("s3", 6), std::pair("a5", 60), std::pair("s5", 120)}) {
    const std::string group = std::string("group=") + name;
    std::map<std::pair<int, int>, int> product;  // of the words of two, as the task has them
    for_samples("group", {group, "min_length=2", "max_length=2"}, order * order * 12, [&](const TaskSample& s) {
      const Tokens word = question_of(s);
      const auto [entry, is_new] = product.emplace(std::pair(word[0] - 2, word[1] - 2), answer_tokens(s)[0] - 2);
      EXPECT_EQ(entry->second, answer_tokens(s)[0] - 2);
    });
    ASSERT_EQ(product.size(), static_cast<std::size_t>(order) * static_cast<std::size_t>(order)) << name;
    // A group: one identity, every row and column each element once, associative.
    const auto times = [&](int a, int b) { return product.at({a, b}); };
    for (int a = 0; a < order; ++a) {
      EXPECT_EQ(times(0, a), a);
      EXPECT_EQ(times(a, 0), a);
      std::set<int> row, column;
      for (int b = 0; b < order; ++b) row.insert(times(a, b)), column.insert(times(b, a));
      ASSERT_EQ(row.size(), static_cast<std::size_t>(order));
      ASSERT_EQ(column.size(), static_cast<std::size_t>(order));
    }
    // Orders of elements: which group it is.
    std::map<int, int> elements_of_order;
    for (int a = 0; a < order; ++a) {
      int power = a, n = 1;
      while (power != 0) power = times(power, a), ++n;
      ++elements_of_order[n];
    }
    const std::map<int, int> expected = order == 6 ? std::map<int, int>{{1, 1}, {2, 3}, {3, 2}}
                                        : order == 60
                                            ? std::map<int, int>{{1, 1}, {2, 15}, {3, 20}, {5, 24}}
                                            : std::map<int, int>{{1, 1}, {2, 25}, {3, 20}, {4, 30}, {5, 24}, {6, 20}};
    EXPECT_EQ(elements_of_order, expected) << name;
    for_samples("group", {group, "min_length=3", "max_length=20"}, 300, [&](const TaskSample& s) {
      int value = 0;
      for (const std::int32_t token : question_of(s)) value = times(value, token - 2);
      EXPECT_EQ(answer_tokens(s)[0] - 2, value);
    });
  }
}

// After d points the function is known: the rest follow by solving for w, up to the rounding to bins.
TEST(Task, RegressionIsLinear) {
  constexpr std::size_t kD = 3, kPoints = 12;
  const auto centre = [](std::int32_t bin) { return (bin + 0.5) / 32 - 4; };
  double squares = 0, count = 0;
  for_samples("regression", {"dimension=3", "points=12"}, 200, [&](const TaskSample& s) {
    ASSERT_EQ(s.tokens.size(), kPoints * (kD + 1));
    // Normal equations over all points.
    double A[kD][kD + 1] = {};
    for (std::size_t p = 0; p < kPoints; ++p) {
      const std::size_t at = p * (kD + 1);
      const bool cut = s.tokens[at + kD] == 0 || s.tokens[at + kD] == 255;  // y lies beyond the bins
      for (std::size_t i = 0; i < kD; ++i) {
        squares += std::pow(centre(s.tokens[at + i]), 2), ++count;
        if (cut) continue;
        for (std::size_t j = 0; j < kD; ++j) A[i][j] += centre(s.tokens[at + i]) * centre(s.tokens[at + j]);
        A[i][kD] += centre(s.tokens[at + i]) * centre(s.tokens[at + kD]);
      }
      for (std::size_t i = 0; i < kD; ++i) EXPECT_EQ(s.marks[at + i], 0);
      EXPECT_EQ(s.marks[at + kD], kScored | kFirstOfAnswer);
    }
    for (std::size_t i = 0; i < kD; ++i) {
      for (std::size_t r = 0; r < kD; ++r) {
        if (r == i) continue;
        const double factor = A[r][i] / A[i][i];
        for (std::size_t c = 0; c <= kD; ++c) A[r][c] -= factor * A[i][c];
      }
    }
    for (std::size_t p = 0; p < kPoints; ++p) {
      const std::size_t at = p * (kD + 1);
      double y = 0;
      for (std::size_t i = 0; i < kD; ++i) y += A[i][kD] / A[i][i] * centre(s.tokens[at + i]);
      const std::int32_t bin = s.tokens[at + kD];
      if (bin > 0 && bin < 255) {
        EXPECT_NEAR(y, centre(bin), 0.06);
      }
    }
  });
  EXPECT_NEAR(squares / count, 1, 0.05);
}

// --- nothing to be read off ---

// How often the token that mostly stands behind the last `order` ones, in samples of another seed, is the one scored;
// and how often the token that is scored most is.
std::pair<double, double> ngram_accuracy(const TaskSettings& s, std::size_t order, int samples) {
  std::map<Tokens, std::map<std::int32_t, int>> counts;
  const auto each = [&](std::uint64_t seed, const auto& act) {
    for (int i = 0; i < samples; ++i) {
      const TaskSample sample = task_sample(s, seed, i);
      for (std::size_t t = order; t < sample.tokens.size(); ++t) {
        if (sample.marks[t] & kScored) act(part(sample, t - order, t), sample.tokens[t]);
      }
    }
  };
  each(1, [&](const Tokens& history, std::int32_t token) { ++counts[history][token], ++counts[{}][token]; });
  const auto guess = [&](const Tokens& history) {
    const auto& of = counts.at(counts.contains(history) ? history : Tokens{});
    return std::max_element(of.begin(), of.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
  };
  double right = 0, constant = 0, all = 0;
  each(2, [&](const Tokens& history, std::int32_t token) {
    right += guess(history) == token, constant += guess({}) == token, ++all;
  });
  return {right / all, constant / all};
}

TEST(Task, NgramsStayAtChance) {
  struct Case {
    const char* task;
    std::vector<std::string> settings;
    double chance;  // 0: of the most common answer
  };
  const std::vector<Case> cases = {
      {"mqar", {"length=32", "pairs=3", "vocab_size=16"}, 1.0 / 8},
      {"mqar", {"length=40", "pairs=4", "vocab_size=16", "kind=forgetting", "rewrites=3"}, 1.0 / 8},
      {"mqar", {"length=48", "pairs=4", "vocab_size=16", "kind=compositional"}, 1.0 / 8},
      {"induction", {"length=24", "vocab_size=10"}, 1.0 / 8},
      {"fuzzy_recall", {"pairs=4", "vocab_size=18"}, 1.0 / 8},
      {"copy", {"items=12", "vocab_size=10"}, 1.0 / 8},
      {"selective_copy", {"length=20", "items=8", "vocab_size=11"}, 1.0 / 8},
      {"palindrome", {"items=12", "vocab_size=10"}, 1.0 / 8},
      {"stack", {"length=96", "stacks=8", "symbols=8"}, 1.0 / 8},
      {"compression", {"items=12", "symbols=8"}, 1.0 / 8},
      {"parity", {}, 1.0 / 2},
      {"modular", {"min_length=10"}, 0},
      {"group", {"group=s3"}, 1.0 / 6},
      {"regression", {"dimension=4", "points=10"}, 0},
  };
  for (const Case& c : cases) {
    const TaskSettings s(c.task, c.settings);
    for (const std::size_t order : {1, 2}) {
      const auto [right, constant] = ngram_accuracy(s, order, 4000);
      EXPECT_LT(right, (c.chance > 0 ? c.chance : constant) + 0.02) << c.task << " " << order;
      if (c.chance > 0) {
        EXPECT_NEAR(constant, c.chance, 0.025) << c.task;
      }
    }
  }
}

// --- needles ---

// Samples decoded to text, and answered by looking for the sentences in it.
TEST(Task, NeedlesStandInTheTextAndAreAskedFor) {
  const ScratchFolder folder;
  std::string book;
  for (int i = 0; i < 3000; ++i) book += cat("The ", i * 7919 % 1000, " ships of line ", i, " sailed on.\n");
  train_tokenizer(
      {.inputs = {folder.write("book.txt", book)}, .extensions = {}, .output = folder / "t.model", .vocab_size = 320});
  const Tokenizer tokenizer(folder / "t.model");
  const TaskText text{&tokenizer, tokenizer.encode(book)};
  const auto after = [](const std::string& whole, const std::string& before) {
    const std::size_t at = whole.find(before);
    EXPECT_NE(at, std::string::npos) << before;
    return at == std::string::npos ? std::string() : whole.substr(at + before.size());
  };
  std::set<std::size_t> depths;
  for (const std::string kind : {"single", "multi_key", "multi_value", "variable_tracking"}) {
    TaskSettings s("needle", {"length=500", "kind=" + kind});
    s.set_text(text);
    for (int i = 0; i < (kind == "single" ? 150 : 30); ++i) {
      const TaskSample sample = task_sample(s, 2, i);
      ASSERT_EQ(sample.tokens.size(), 500u);
      EXPECT_EQ(sample.tokens[0], tokenizer.bos_id());
      ASSERT_EQ(answers_of(sample).size(), 1u);
      EXPECT_EQ(answers_of(sample)[0].back(), 499u);
      const std::string answer = tokenizer.decode(answer_tokens(sample));
      const std::string read = tokenizer.decode(part(sample, 1, answers_of(sample)[0].front()));
      const std::string question = read.substr(read.rfind('\n') + 1), story = read.substr(0, read.rfind('\n'));
      std::string expected;
      if (kind == "variable_tracking") {
        EXPECT_EQ(sample.items, 4u);
        const std::string value = after(question, "assigned the value ").substr(0, 5);
        std::string name = after(story, "VAR ").substr(0, 5);
        EXPECT_NE(story.find("VAR " + name + " = " + value + "\n"), std::string::npos);
        expected = name;
        for (std::size_t at; (at = story.find(" = VAR " + name + "\n")) != std::string::npos;) {
          name = story.substr(at - 5, 5);
          expected += ", " + name;
        }
        EXPECT_EQ(std::count(expected.begin(), expected.end(), ','), 3);
      } else {
        const std::string key = after(question, " for ").substr(0, after(question, " for ").find(' '));
        const std::string sentence = "One of the special magic numbers for " + key + " is: ";
        for (std::size_t at = story.find(sentence); at != std::string::npos; at = story.find(sentence, at + 1)) {
          const std::string value = story.substr(at + sentence.size(), 7);
          EXPECT_EQ(story[at + sentence.size() + 7], '.');
          expected += (expected.empty() ? "" : ", ") + value;
          if (kind == "single") depths.insert(at * 39 / (story.size() - 60));
        }
        EXPECT_EQ(std::count(expected.begin(), expected.end(), ','), kind == "multi_value" ? 3 : 0);
      }
      EXPECT_EQ(answer, " " + expected + ".") << read;
      // Without the needles it is a stretch of the book.
      std::string rest = story;
      for (const char* needle : {"\nOne of the special magic", "\nVAR "}) {
        for (std::size_t at; (at = rest.find(needle)) != std::string::npos;)
          rest.erase(at, rest.find('\n', at + 1) - at + 1);
      }
      EXPECT_NE(book.find(rest), std::string::npos) << rest;
    }
  }
  EXPECT_GT(depths.size(), 30u);
}

// --- settings ---

std::string task_refusal(const std::string& task, const std::vector<std::string>& settings) {
  try {
    const TaskSettings s(task, settings);
    return "";
  } catch (const UserError& error) {
    return error.what();
  }
}

TEST(Task, RefusesWhatItCannotDo) {
  EXPECT_NE(task_refusal("mqra", {}).find("did you mean 'mqar'"), std::string::npos) << task_refusal("mqra", {});
  EXPECT_NE(task_refusal("mqar", {"pair=3"}).find("did you mean 'pairs'"), std::string::npos);
  EXPECT_NE(task_refusal("mqar", {"pairs=3", "pairs=4"}).find("twice"), std::string::npos);
  EXPECT_NE(task_refusal("mqar", {"pairs"}).find("key=value"), std::string::npos);
  EXPECT_NE(task_refusal("mqar", {"pairs=x"}).find("whole number"), std::string::npos);
  EXPECT_NE(task_refusal("mqar", {"pairs=0"}).find("from 1"), std::string::npos);
  EXPECT_NE(task_refusal("mqar", {"length=64", "pairs=17"}).find("at least 68"), std::string::npos)
      << task_refusal("mqar", {"length=64", "pairs=17"});
  EXPECT_EQ(task_refusal("mqar", {"length=68", "pairs=17"}), "");
  EXPECT_NE(task_refusal("mqar", {"vocab_size=8", "pairs=4"}).find("too few"), std::string::npos);
  EXPECT_NE(task_refusal("mqar", {"vocab_size=511"}).find("odd"), std::string::npos);
  EXPECT_NE(task_refusal("mqar", {"rewrites=2"}).find("forgetting"), std::string::npos);
  EXPECT_NE(task_refusal("mqar", {"kind=plane"}).find("none of plain"), std::string::npos);
  EXPECT_NE(task_refusal("copy", {"min_items=20"}).find("more than"), std::string::npos);
  EXPECT_NE(task_refusal("parity", {"min_length=50"}).find("more than"), std::string::npos);
  EXPECT_NE(task_refusal("selective_copy", {"length=5"}).find("do not fit"), std::string::npos);
  EXPECT_NE(task_refusal("palindrome", {"items=1"}).find("at least 2"), std::string::npos);
}

// --- data sets ---

class TaskSetTest : public testing::Test {
 protected:
  ScratchFolder scratch_;
};

TEST_F(TaskSetTest, ASetHasItsSamplesAndSaysWhatIsScored) {
  PrepareTask options{.task = "copy", .settings = {"items=5", "vocab_size=9", "min_items=2"}, .samples = 40, .seed = 3};
  options.output = scratch_ / "copy";
  options.shard_tokens = 100;  // several shards, cut within samples
  prepare_task(options);
  const Dataset data(options.output);
  EXPECT_TRUE(data.has_scores());
  EXPECT_EQ(data.num_documents(), 40);
  EXPECT_EQ(data.num_tokens(), 40 * 11);
  EXPECT_EQ(data.vocab_size(), 9);
  EXPECT_TRUE(data.verify().empty());
  const TaskSettings settings("copy", options.settings);
  const std::vector<std::int64_t> offsets = document_offsets(options.output);
  std::int64_t scored = 0;
  for (std::int64_t i = 0; i < 40; ++i) {
    const TaskSample sample = task_sample(settings, 3, i);
    EXPECT_EQ(offsets[static_cast<std::size_t>(i)], i * 11);
    EXPECT_EQ(data.tokens(i * 11, 11), sample.tokens);
    EXPECT_EQ(data.marks(i * 11, 11), sample.marks);
    EXPECT_EQ(data.items(i), sample.items);
    scored += sample.items;
  }
  EXPECT_EQ(data.scored_tokens(), scored);
  const Batch batch = data.batch({0, 7}, 11);
  for (std::int64_t t = 0; t < 11; ++t) {
    const std::int64_t target = 7 * 11 + t + 1;
    EXPECT_EQ(batch.targets_BT[1][t].item<std::int64_t>(), data.tokens(target, 1)[0]);
    EXPECT_EQ(batch.scored_BT[1][t].item<bool>(), (data.marks(target, 1)[0] & kScored) != 0);
  }
  // Another seed, another set of the same kind; the same again, the same bytes.
  PrepareTask again = options, other = options;
  again.output = scratch_ / "again";
  other.output = scratch_ / "other";
  other.seed = 4;
  prepare_task(again);
  prepare_task(other);
  EXPECT_EQ(Dataset(again.output).fingerprint(), data.fingerprint());
  EXPECT_NE(Dataset(other.output).fingerprint(), data.fingerprint());
  // A set in place is not replaced unasked, and damage is found.
  EXPECT_THROW(prepare_task(options), UserError);
  std::string marks = read_file(options.output / "scored-00000.bin");
  marks[12] = static_cast<char>(marks[12] ^ 1);
  write_file_atomically(options.output / "scored-00000.bin", marks);
  ASSERT_EQ(data.verify().size(), 1u);
  EXPECT_NE(data.verify()[0].find("scored-00000.bin"), std::string::npos);
  fs::resize_file(options.output / "scored-00000.bin", 50);
  EXPECT_THROW(Dataset{options.output}, UserError);
  fs::remove(options.output / "scored-00000.bin");
  EXPECT_THROW(Dataset{options.output}, UserError);
}

// A set that says what is scored beside one that does not: the latter's targets all count.
TEST_F(TaskSetTest, MixturesKeepWhatIsScored) {
  PrepareTask options{.task = "copy", .settings = {"items=5", "vocab_size=9"}, .samples = 20};
  options.output = scratch_ / "task";
  prepare_task(options);
  DatasetWriterOptions plain;
  plain.directory = scratch_ / "plain";
  plain.vocab_size = 9;
  DatasetWriter writer(plain);
  writer.begin_document();
  writer.append(std::vector<std::int32_t>(23, 4));
  writer.commit();
  std::vector<MixtureSource> sources;
  sources.push_back({"task", 1, Dataset(options.output)});
  sources.push_back({"plain", 1, Dataset(plain.directory)});
  const Batch batch = mixture_batch(sources, {{1, 0}, {0, 2}}, 11);
  EXPECT_EQ(batch.scored_BT[0].sum().item<std::int64_t>(), 11);
  EXPECT_EQ(batch.scored_BT[1].sum().item<std::int64_t>(), 5);
  std::vector<MixtureSource> alone;
  alone.push_back({"plain", 1, Dataset(plain.directory)});
  EXPECT_FALSE(mixture_batch(alone, {{0, 0}}, 11).scored_BT.defined());
}

}  // namespace
}  // namespace ttt
