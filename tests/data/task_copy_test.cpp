// Tasks that copy (copy, selective copy, palindrome, stack, compression): every answer derived again from the sample.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/task_testing.h"

namespace ttt {
namespace {

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

}  // namespace
}  // namespace ttt
