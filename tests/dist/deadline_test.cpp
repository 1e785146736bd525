// Calls that end in time, fail, or never end.
#include "dist/deadline.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace ttt {
namespace {

TEST(Deadline, WhatEndsInTimeGivesItsValueOrItsError) {
  EXPECT_EQ(within(60, [] { return 7; }), 7);
  EXPECT_THROW(within(60, []() -> int { throw std::runtime_error("no"); }), std::runtime_error);
}

TEST(Deadline, WhatDoesNotEndGivesNothing) {
  int said = 0;
  const Timer timer;
  const auto forever = [] {
    std::this_thread::sleep_for(std::chrono::hours(1));
    return 7;
  };
  EXPECT_EQ(within(0.5, forever, 0.1, [&] { ++said; }), std::nullopt);
  EXPECT_GE(timer.seconds(), 0.5);
  EXPECT_LT(timer.seconds(), 30);
  EXPECT_GE(said, 1);
  EXPECT_LE(said, 5);
}

}  // namespace
}  // namespace ttt
