// What is said of inner loops that run away.
#include "train/inner_loop_watch.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <limits>

namespace ttt {
namespace {

InnerLoopStats inner_stats(float loss_w0, float loss_after, float change) {
  InnerLoopStats stats;
  stats.layer = 3;
  stats.loss_w0 = stats.loss_before = torch::full({8}, loss_w0);
  stats.loss_after = torch::full({8}, loss_after);
  stats.weight_change = torch::full({8}, change);
  return stats;
}

TEST(InnerLoopWatch, WarnsWhenAConditionBegins) {
  InnerLoopWatch watch;
  for (int step = 1; step <= 6; ++step) EXPECT_TRUE(watch.check(inner_stats(1.f, 0.5f, 2.f), step).empty()) << step;
  auto warnings = watch.check(inner_stats(1.f, 5.f, 2.f), 7);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(warnings[0].starts_with("layer 3, step 7: the inner loss after the step is 5")) << warnings[0];
  EXPECT_TRUE(watch.check(inner_stats(1.f, 6.f, 2.f), 8).empty());  // it lasts
  EXPECT_TRUE(watch.check(inner_stats(1.f, 0.5f, 2.f), 9).empty());
  EXPECT_EQ(watch.check(inner_stats(1.f, 5.f, 2.f), 10).size(), 1u);  // it began again
  warnings = watch.check(inner_stats(1.f, 0.5f, 21.f), 11);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("they run away"), std::string::npos) << warnings[0];
  warnings = watch.check(inner_stats(1.f, std::numeric_limits<float>::quiet_NaN(), 2.f), 12);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("not finite"), std::string::npos) << warnings[0];
}

// Of a last token whose scale was clamped at zero; not where the learning rates are zero, as train.inner_lr_scale: 0 has
// them.
TEST(InnerLoopWatch, WarnsOfWeightsThatStandStill) {
  InnerLoopWatch watch;
  InnerLoopStats stats = inner_stats(1.f, 1.f, 0.f);
  stats.sigma = torch::zeros({16});
  EXPECT_TRUE(watch.check(stats, 1).empty());
  stats.sigma = torch::full({16}, 0.01);
  const auto warnings = watch.check(stats, 2);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("do not move any more"), std::string::npos) << warnings[0];
  EXPECT_NE(warnings[0].find("*.token_scale_delta"), std::string::npos) << warnings[0];
  EXPECT_TRUE(watch.check(stats, 3).empty());  // it lasts
  // A short last mini-batch ends on another token, and moves.
  InnerLoopWatch another;
  stats.weight_change[7] = 0.5;
  EXPECT_EQ(another.check(stats, 1).size(), 1u);
  stats.weight_change[3] = 0.5;
  EXPECT_TRUE(another.check(stats, 2).empty());
}

}  // namespace
}  // namespace ttt
