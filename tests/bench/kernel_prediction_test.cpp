// Predicted times of CUDA kernels: counts by hand at small shapes, and that no kernel of a counted op is forgotten.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "bench/inner_products.h"
#include "bench/kernel_prediction.h"
#include "bench/op_case.h"
#include "kernels/cuda/kernel_table.h"
#include "ops/ttt.h"

namespace ttt {
namespace {

OpSizes predicted_sizes(std::int64_t heads, std::int64_t head_dim, at::ScalarType dtype) {
  OpSizes sizes{1, heads, head_dim, 32, 16};
  sizes.vocab = 100;
  sizes.dtype = dtype;
  return sizes;
}

const KernelWork& work_named(const std::vector<KernelWork>& all, const std::string& kernel) {
  for (const KernelWork& work : all)
    if (work.kernel == kernel) return work;
  throw Error("no " + kernel);
}

// Two heads of 64, 32 tokens: two blocks of two mini-batches, four warps.
TEST(KernelWorkCounts, TttLinearForwardByHand) {
  const std::vector<KernelWork> all = ttt_linear_work(predicted_sizes(2, 64, at::kBFloat16));
  const KernelWork& work = work_named(all, "forward bf16 64");
  EXPECT_EQ(work.blocks, 2);
  EXPECT_EQ(work.threads, 128);
  EXPECT_EQ(work.serial_steps, 2);
  // q, k, v, O, G in bf16; sigma; W and c in and, once, out; gain, bias, 16 scales.
  EXPECT_EQ(work.bytes, 2 * (5 * 32 * 64 * 2 + 4 * (32 + 2 * (64 * 64 + 64) + 64 + 64 + 16)));
  // Z, Zq, the update; N G; Q K^T by four warps.
  EXPECT_EQ(work.mma_flop, 2 * 2 * (3 * 2 * 16 * 64 * 64 + (1 + 4) * 2 * 16 * 16 * 64));
  EXPECT_EQ(work.fp32_flop, 2 * 2 * (30 * 16 * 64 + 4 * 4 * 16 * 16));
  EXPECT_EQ(work.scratch_bytes, 0);
}

// Two sequences of five tokens of 128 values.
TEST(KernelWorkCounts, RmsNormByHand) {
  OpSizes sizes = predicted_sizes(2, 64, at::kBFloat16);
  sizes.batch = 2, sizes.context = 5;
  const std::vector<KernelWork> all = rms_norm_work(sizes);
  const KernelWork& forward = work_named(all, "forward bf16 1024");
  EXPECT_EQ(forward.blocks, 10);
  EXPECT_EQ(forward.bytes, 10 * 128 * (4 + 2) + 128 * 4 + 10 * 4);
  EXPECT_EQ(forward.fp32_flop, 10 * 128 * 4);
  EXPECT_EQ(forward.mma_flop, 0);
  const KernelWork& backward = work_named(all, "backward bf16 1024");
  EXPECT_EQ(backward.blocks, 3);  // of four rows each
  EXPECT_EQ(backward.bytes, 10 * 128 * (2 + 4 + 4) + 128 * 4 + 10 * 4 + 3 * 128 * 4);
}

// The op's own products, and those that every warp makes again.
TEST(KernelWorkCounts, ForwardProductsAreThoseOfTheOp) {
  for (const std::int64_t K : {64, 96}) {
    const OpSizes sizes = predicted_sizes(3, K, at::kBFloat16);
    const std::string kernel = cat("forward bf16 ", K);
    const double token_heads = 3 * 32, again = 3 * 2 * 2.0 * 16 * 16 * static_cast<double>(K);
    const std::vector<KernelWork> linear = ttt_linear_work(sizes), mlp = ttt_mlp_work(sizes);
    EXPECT_DOUBLE_EQ(work_named(linear, kernel).mma_flop,
                     token_heads * inner_forward_flops(ttt_linear_net(), K, 16) + (K / 16 - 1) * again);
    EXPECT_DOUBLE_EQ(work_named(mlp, kernel).mma_flop,
                     token_heads * inner_forward_flops(ttt_mlp_net(), K, 16) + (K / 8 - 1) * 2 * again);
  }
}

TEST(KernelWorkCounts, EveryOpWithKernelsIsListed) {
  std::set<std::string> planned, listed;
  for (const auto& plan : kernels::cuda::emulated::kernels().plans()) planned.insert(plan.op);
  for (const CountedOp& op : counted_ops()) listed.insert(op.name);
  EXPECT_EQ(planned, listed);
}

// Every kernel of a counted op has its counts at some shape, by its name and with its block.
TEST(KernelWorkCounts, EveryKernelOfACountedOpIsCounted) {
  for (const CountedOp& op : counted_ops()) {
    if (op.work == nullptr) continue;
    std::vector<KernelWork> all;
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      // Widths up to 1024, 2048 and 8192; heads of vectors, of pairs and of no pairs.
      for (const auto& [heads, head_dim] : {std::pair{2, 64}, {2, 96}, {2, 32}, {16, 96}, {48, 64}, {3, 18}, {3, 9}}) {
        const std::vector<KernelWork> some = op.work(predicted_sizes(heads, head_dim, dtype));
        all.insert(all.end(), some.begin(), some.end());
      }
    }
    std::set<std::string> planned, counted;
    for (const KernelWork& work : all) {
      counted.insert(work.kernel);
      EXPECT_GT(work.blocks, 0) << op.name << " " << work.kernel;
      EXPECT_GT(work.bytes, 0) << op.name << " " << work.kernel;
    }
    for (const auto& plan : kernels::cuda::emulated::kernels().plans()) {
      if (plan.op != op.name) continue;
      planned.insert(plan.kernel);
      ASSERT_TRUE(counted.contains(plan.kernel)) << op.name << " " << plan.kernel << " is not counted";
      const KernelWork& work = work_named(all, plan.kernel);
      EXPECT_EQ(work.threads, plan.threads) << op.name << " " << plan.kernel;
      EXPECT_EQ(work.shared_bytes, plan.shared_bytes) << op.name << " " << plan.kernel;
    }
    EXPECT_EQ(planned, counted) << op.name;
  }
}

TEST(Predictions, ByTheBusiestMultiprocessor) {
  EXPECT_DOUBLE_EQ(busy_share(1), 1.0 / 132);
  EXPECT_DOUBLE_EQ(busy_share(132), 1);
  EXPECT_DOUBLE_EQ(busy_share(192), 192.0 / 264);
}

TEST(Predictions, TheLongestBoundAndALaunch) {
  KernelWork work;
  work.blocks = 132, work.bytes = 3.35e9;
  const Prediction h100 = predict(work, kPredictedGpus[0]), h200 = predict(work, kPredictedGpus[1]);
  EXPECT_EQ(h100.bound, "bytes");
  EXPECT_DOUBLE_EQ(h100.seconds, 1e-3 + 3e-6);
  EXPECT_LT(h200.seconds, h100.seconds);
  work.mma_flop = 2 * 0.6 * 989e9;
  EXPECT_EQ(predict(work, kPredictedGpus[0]).bound, "mma");
  EXPECT_DOUBLE_EQ(predict(work, kPredictedGpus[0]).seconds, 2e-3 + 3e-6);
  work.blocks = 66;
  EXPECT_DOUBLE_EQ(predict(work, kPredictedGpus[0]).seconds, 4e-3 + 3e-6);
  work.fp32_flop = 1e12;
  EXPECT_EQ(predict(work, kPredictedGpus[0]).bound, "fp32");
  work.scratch_bytes = 1e12;
  EXPECT_EQ(predict(work, kPredictedGpus[0]).bound, "scratch");
}

TEST(Predictions, OfAnOpAsJsonAndText) {
  const OpPlan plan = plan_op("ttt_linear", predicted_sizes(2, 64, at::kBFloat16));
  const Json json = to_json(plan);
  for (const char* key : {"op", "batch", "heads", "head_dim", "context", "mini_batch", "dtype", "kernels", "note"})
    EXPECT_TRUE(json.contains(key)) << key;
  ASSERT_EQ(json["predictions"].size(), 3U);  // forward, backward, decode
  for (const char* key : {"kernel", "blocks", "threads", "shared_bytes", "registers", "blocks_per_multiprocessor",
                          "waves", "serial_steps", "bytes", "scratch_bytes", "mma_flop", "fp32_flop", "predicted"})
    EXPECT_TRUE(json["predictions"][0].contains(key)) << key;
  ASSERT_EQ(json["predictions"][0]["predicted"].size(), 2U);
  for (const char* key : {"gpu", "us", "bound"})
    EXPECT_TRUE(json["predictions"][0]["predicted"][0].contains(key)) << key;
  const std::string text = prediction_text(plan);
  for (const char* part : {"backward bf16 64", "H200", "none of these kernels has run on a GPU yet", "lower bound"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
}

TEST(Predictions, WhatIsNotPredictedSaysWhy) {
  const OpSizes sizes = predicted_sizes(2, 64, at::kFloat);
  const auto says = [&](const char* op, const OpSizes& at_sizes, const char* part) {
    const std::string text = prediction_text(plan_op(op, at_sizes));
    EXPECT_NE(text.find(part), std::string::npos) << text;
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  };
  says("attention", sizes, "attention has no CUDA kernels of this project");
  says("selective_scan", sizes, "selective_scan: not counted");
  OpSizes wide = sizes;
  wide.heads = 200;
  says("rms_norm", wide, "no CUDA kernel of rms_norm takes 1 x 200 heads of 64");
  EXPECT_THROW(plan_op("ttt_liner", sizes), UserError);
}

}  // namespace
}  // namespace ttt
