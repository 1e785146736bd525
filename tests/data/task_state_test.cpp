// Tasks with a state or a rule (parity, modular arithmetic, group words, regression): every answer derived again.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "data/task_testing.h"

namespace ttt {
namespace {

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

}  // namespace
}  // namespace ttt
