// Keeping a function's input for the backward pass, not what it computed.
#include "model/recompute.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <vector>

#include "ops/kernel_table.h"

namespace ttt {
namespace {

// A kernel that fits into a GPU only without its backward pass would else be taken the first time and not the second.
TEST(Recompute, BothRunsAreCallsInTraining) {
  std::vector<KernelPass> passes;
  const auto square = [&](const at::Tensor& x) {
    passes.push_back(pass_of(at::GradMode::is_enabled()));
    return x * x;
  };
  const at::Tensor x = torch::full({3}, 2.0, at::requires_grad());
  recomputed(square, square, x).sum().backward();
  EXPECT_EQ(passes, std::vector<KernelPass>(2, KernelPass::kTraining));
  EXPECT_TRUE(at::equal(x.grad(), torch::full({3}, 4.0)));
  EXPECT_EQ(pass_of(false), KernelPass::kForward) << "not after it";
}

}  // namespace
}  // namespace ttt
