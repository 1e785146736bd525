// Micro-steps that run as a graph do what they do one by one: a "GPU" of emulated kernels does again on each launch
// what was recorded, with whatever the recorded tensors hold by then.
#include "train/micro_steps.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "kernels/cuda/kernel_table.h"
#include "ops/cuda_target.h"

namespace ttt {
namespace {

class MicroStepsTest : public ::testing::Test {
 protected:
  static MicroBatch batch(std::int64_t b, std::int64_t first) {
    const torch::Tensor tokens = torch::arange(first, first + b * 3).view({b, 3});
    return {tokens, tokens + 1, torch::full({b, 3}, static_cast<float>(first))};
  }
  // Whatever a pass may read, with a weight of its own for each.
  void pass(const MicroBatch& batch, const ForwardContext& context) {
    ++passes_;
    read_.push_back(batch.inputs_bT.const_data_ptr());
    const torch::Tensor mult = context.ttt_lr_mult_on_device.defined()
                                   ? context.ttt_lr_mult_on_device
                                   : torch::tensor(context.ttt_lr_mult, torch::kDouble);
    sum_ += (batch.inputs_bT + 10 * batch.targets_bT + 100 * batch.weights_bT).sum().to(torch::kDouble) * mult;
  }
  MicroSteps steps(bool with_graph) {
    return {torch::kCPU, with_graph, [this](const MicroBatch& b, const ForwardContext& c) { pass(b, c); }};
  }
  // Of ten micro-steps, each with another multiplier.
  double ten(MicroSteps& steps) {
    sum_.zero_();
    for (int i = 0; i < 10; ++i) {
      ForwardContext context;
      context.ttt_lr_mult = 0.1 * i;
      steps.run(batch(i == 7 ? 1 : 2, 5 * i), context);  // one is shorter than the recorded one
    }
    return sum_.item<double>();
  }

  const EmulatedGpu gpu_{kernels::cuda::emulated::kernels()};
  torch::Tensor sum_ = torch::zeros({}, torch::kDouble);
  int passes_ = 0;
  std::vector<const void*> read_;
};

TEST_F(MicroStepsTest, AGraphReadsEachMicroBatchFromWhereItWasRecorded) {
  MicroSteps plain = steps(false), graph = steps(true);
  const double expected = ten(plain);
  read_.clear();
  passes_ = 0;
  EXPECT_NEAR(ten(graph), expected, 1e-9 * expected);
  EXPECT_EQ(passes_, 10);
  // The first three ran by themselves, and so did the short one; the others read what the fourth did.
  for (const int recorded : {4, 5, 6, 8, 9}) EXPECT_EQ(read_[static_cast<std::size_t>(recorded)], read_[3]) << recorded;
  EXPECT_NE(read_[7], read_[3]);
}

TEST_F(MicroStepsTest, WhatRunsByItselfHasTheMultiplierToo) {
  MicroSteps graph = steps(true), plain = steps(false);
  ForwardContext context;
  context.ttt_lr_mult = 0.25;
  EXPECT_EQ(graph.with_multiplier(context).ttt_lr_mult_on_device.item<double>(), 0.25);
  EXPECT_FALSE(plain.with_multiplier(context).ttt_lr_mult_on_device.defined());
}

TEST_F(MicroStepsTest, WhatCannotBeRecordedIsSaid) {
  int passes = 0;
  MicroSteps graph(torch::kCPU, true, [&](const MicroBatch&, const ForwardContext&) {
    if (++passes > 3) TORCH_CHECK(false, "CUDA error: operation not permitted when stream is capturing");
  });
  for (int i = 0; i < 3; ++i) graph.run(batch(2, i), {});
  try {
    graph.run(batch(2, 3), {});
    FAIL() << "it was recorded";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "a micro-step cannot be recorded as a CUDA graph (CUDA error: operation not permitted when stream is "
                 "capturing); set train.cuda_graph to false, which changes no result");
  }
}

}  // namespace
}  // namespace ttt
