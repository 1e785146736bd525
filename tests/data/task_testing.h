// Shared by the tests of tasks: samples, and which of their tokens are scored.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/task.h"

namespace ttt {

using Tokens = std::vector<std::int32_t>;

// The scored tokens by place, answers told apart.
inline std::vector<std::vector<std::size_t>> answers_of(const TaskSample& sample) {
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

inline Tokens answer_tokens(const TaskSample& sample, std::size_t number = 0) {
  Tokens tokens;
  const std::vector<std::vector<std::size_t>> answers = answers_of(sample);
  for (const std::size_t place : answers.at(number)) tokens.push_back(sample.tokens[place]);
  return tokens;
}

inline Tokens part(const TaskSample& sample, std::size_t begin, std::size_t end) {
  return {sample.tokens.begin() + static_cast<std::ptrdiff_t>(begin),
          sample.tokens.begin() + static_cast<std::ptrdiff_t>(end)};
}

inline void for_samples(const std::string& task, const std::vector<std::string>& settings, std::int64_t count,
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

}  // namespace ttt
