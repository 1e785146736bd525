// What holds for every task: samples are a function of (task, settings, seed, index), n-grams stay at chance, settings
// that make no sense are refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "data/task_testing.h"

namespace ttt {
namespace {

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

}  // namespace
}  // namespace ttt
