// Which targets count in a loss, and how much each.
#include "train/loss_weights.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

namespace ttt {
namespace {

TEST(LossWeights, CountScoredTargets) {
  const torch::Tensor targets_BT = torch::tensor({{1, 0, 2, 3}, {0, 0, 0, 4}, {0, 0, 0, 0}}, torch::kLong);
  EXPECT_EQ(count_scored(targets_BT, 0), 4);
  EXPECT_EQ(count_scored(targets_BT, std::nullopt), 12);
  const torch::Tensor tokens = loss_weights(targets_BT, 0, LossAverage::kTokens, {3, 4});
  EXPECT_TRUE(
      torch::allclose(tokens, torch::tensor({{.25f, 0.f, .25f, .25f}, {0.f, 0.f, 0.f, .25f}, {0.f, 0.f, 0.f, 0.f}})));
  const torch::Tensor sequences = loss_weights(targets_BT, 0, LossAverage::kSequences, {3, 4});
  const float third = 1.0f / 3, ninth = 1.0f / 9;
  EXPECT_TRUE(torch::allclose(
      sequences, torch::tensor({{ninth, 0.f, ninth, ninth}, {0.f, 0.f, 0.f, third}, {0.f, 0.f, 0.f, 0.f}})));
  EXPECT_TRUE(torch::allclose(loss_weights(targets_BT, std::nullopt, LossAverage::kTokens, {3, 12}),
                              torch::full({3, 4}, 1.0f / 12)));
  // A rank's part of a step of six sequences and 10 scored targets.
  EXPECT_TRUE(torch::allclose(loss_weights(targets_BT, 0, LossAverage::kTokens, {6, 10}), tokens * 0.4f));
  EXPECT_TRUE(torch::allclose(loss_weights(targets_BT, 0, LossAverage::kSequences, {6, 10}), sequences * 0.5f));
}

}  // namespace
}  // namespace ttt
