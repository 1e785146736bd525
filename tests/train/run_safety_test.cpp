// What a run that meets trouble remembers: samples passed over, the usual loss.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <future>
#include <set>
#include <thread>

#include "train/loss_trend.h"
#include "train/passed_over.h"
#include "train/watchdog.h"

namespace ttt {
namespace {

TEST(PassedOver, LeavesOutRangesAndNothingElse) {
  PassedOver none;
  EXPECT_EQ(none.next(7, 3).positions, (std::vector<std::int64_t>{7, 8, 9}));
  EXPECT_EQ(none.next(7, 3).cursor, 10);
  PassedOver some;
  some.add({10, 12});
  some.add({20, 21});
  some.add({12, 14});  // touches the first
  EXPECT_EQ(some.ranges(), (std::vector<PassedOver::Range>{{10, 14}, {20, 21}}));
  EXPECT_EQ(some.next(8, 4).positions, (std::vector<std::int64_t>{8, 9, 14, 15}));
  EXPECT_EQ(some.next(11, 1).positions, (std::vector<std::int64_t>{14}));
  EXPECT_EQ(some.next(8, 2).cursor, 10);
  EXPECT_EQ(some.next(10, 7).positions, (std::vector<std::int64_t>{14, 15, 16, 17, 18, 19, 21}));
  some.add({5, 30});
  EXPECT_EQ(some.ranges(), (std::vector<PassedOver::Range>{{5, 30}}));
}

// Step by step or in one go: the same positions, each once, for any step size.
TEST(PassedOver, StepsCoverTheRest) {
  PassedOver some;
  for (const std::int64_t first : {3, 17, 18, 40, 64}) some.add({first, first + 5});
  for (const std::int64_t step : {1, 2, 5, 8}) {
    std::set<std::int64_t> seen;
    std::int64_t cursor = 0;
    while (cursor < 100) {
      const PassedOver::Next next = some.next(cursor, step);
      for (const std::int64_t position : next.positions) EXPECT_TRUE(seen.insert(position).second) << position;
      cursor = next.cursor;
    }
    for (std::int64_t position = 0; position < 100; ++position) {
      bool left_out = false;
      for (const auto& range : some.ranges()) left_out |= range.first <= position && position < range.last;
      EXPECT_EQ(seen.count(position), left_out ? 0u : 1u) << position;
    }
  }
  EXPECT_EQ(passed_over_from_json(Json::parse(to_json(some).dump())), some);
  EXPECT_THROW(passed_over_from_json(Json::parse("[[1]]")), Json::exception);
}

TEST(LossTrend, SpikesStandOut) {
  LossTrend trend;
  const auto usual = [](int step) { return 4 - 0.002 * step + 0.05 * std::sin(1.7 * step); };
  for (int step = 0; step < 200; ++step) {
    EXPECT_LE(usual(step), trend.spike_limit(6)) << step;
    if (step < 50) {
      EXPECT_LE(1e6, trend.spike_limit(6)) << "too early to tell, step " << step;
    }
    trend.add(usual(step));
  }
  EXPECT_GT(5, trend.spike_limit(6));
  EXPECT_LE(3, trend.spike_limit(6)) << "a loss may fall";
  EXPECT_LE(3.7, trend.spike_limit(6));
  const LossTrend again = loss_trend_from_json(Json::parse(to_json(trend).dump()));
  EXPECT_EQ(again, trend) << "to the last bit";
  LossTrend flat;
  for (int step = 0; step < 100; ++step) flat.add(2);
  EXPECT_LE(2.05, flat.spike_limit(6)) << "noise";
  EXPECT_GT(2.2, flat.spike_limit(6));
}

TEST(Watchdog, SaysWhereTheRunIsStuck) {
  std::promise<std::string> stuck;
  std::future<std::string> sentence = stuck.get_future();
  Watchdog watchdog(0.2, 3, [&](const std::string& text) { stuck.set_value(text); });
  watchdog.enter(120, "the backward pass");
  ASSERT_EQ(sentence.wait_for(std::chrono::seconds(30)), std::future_status::ready);
  EXPECT_TRUE(sentence.get().starts_with("rank 3 has been at step 120 in the backward pass for "));
}

TEST(Watchdog, IsQuietWhileStepsGoOn) {
  bool stuck = false;
  {
    Watchdog watchdog(60, 0, [&](const std::string&) { stuck = true; });
    for (int step = 1; step < 50; ++step) watchdog.enter(step, "a step");
  }
  {
    Watchdog none(0, 0, [&](const std::string&) { stuck = true; });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_FALSE(stuck);
}

TEST(WatchdogDeathTest, EndsTheProcess) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        Watchdog watchdog(0.05, 1);
        watchdog.enter(7, "saving a checkpoint");
        std::this_thread::sleep_for(std::chrono::seconds(60));
      },
      ::testing::ExitedWithCode(1), "rank 1 has been at step 7 in saving a checkpoint");
}

}  // namespace
}  // namespace ttt
