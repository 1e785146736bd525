// What `ttt bench` counts and compares with; how long anything takes is never asserted.
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "base/error.h"
#include "bench/decode_bench.h"
#include "bench/dense_products.h"
#include "bench/device_memory.h"
#include "bench/inner_products.h"
#include "bench/model_bench.h"
#include "bench/naive_ttt.h"
#include "bench/op_bench.h"
#include "bench/op_check.h"
#include "config/load.h"
#include "kernels/cuda/kernel_table.h"
#include "ops/cuda_target.h"
#include "ops/ttt_testing.h"
#include "plan/flops.h"
#include "support/small_model.h"

namespace ttt {
namespace {

TEST(Spread, OfOddAndEvenCounts) {
  const Spread odd = spread_of({3, 1, 2}), even = spread_of({4, 1, 3, 2});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.min, 1);
  EXPECT_EQ(odd.max, 3);
  EXPECT_EQ(even.median, 2.5);
  EXPECT_EQ(spread_of({7}).median, 7);
}

// The products one by one against the formulas that `ttt plan` and the documentation give.
TEST(InnerProducts, GiveTheFormulas) {
  for (const std::int64_t K : {64, 96}) {
    for (const std::int64_t C : {8, 16, 64}) {
      for (const auto& [net, mixer] :
           {std::pair(ttt_linear_net(), MixerKind::kTttLinear), std::pair(ttt_mlp_net(), MixerKind::kTttMlp)}) {
        const double formula = inner_loop_flops(mixer, K, C);
        EXPECT_DOUBLE_EQ(inner_forward_flops(net, K, C), formula);
        EXPECT_DOUBLE_EQ(inner_backward_flops(net, K, C), 2 * formula);
      }
    }
  }
  EXPECT_DOUBLE_EQ(inner_forward_flops(ttt_linear_net(), 64, 16), 28672);
}

ModelConfig small(MixerPattern mixer, Backbone backbone, bool tied) {
  ModelConfig config = small_model(std::move(mixer), backbone);
  config.tie_embeddings = tied;
  config.num_layers = 4;
  return config;
}

TEST(DenseProducts, OfTheBuiltModelAreThoseThatThePlanCounts) {
  for (const MixerPattern& mixer : {MixerPattern(MixerKind::kAttention), MixerPattern(MixerKind::kTttLinear),
                                    MixerPattern(MixerKind::kTttMlp), MixerPattern(MixerKind::kMamba),
                                    MixerPattern({MixerKind::kTttMlp, MixerKind::kAttention, MixerKind::kMamba})}) {
    for (const Backbone backbone : {Backbone::kTransformer, Backbone::kMamba}) {
      for (const bool tied : {false, true}) {
        const ModelConfig config = small(mixer, backbone, tied);
        const std::vector<DenseProduct> products = dense_products(LanguageModel(config));
        double flops = 0;
        for (const DenseProduct& p : products) flops += 2 * static_cast<double>(p.in * p.out);
        EXPECT_DOUBLE_EQ(flops, dense_flops(config)) << to_string(mixer) << " " << to_string(backbone);
        EXPECT_TRUE(products.back().is_head);
        EXPECT_EQ(products.back().name, tied ? "embedding.weight" : "lm_head.weight");
        EXPECT_EQ(products.back().out, config.vocab_size);
      }
    }
  }
}

TEST(DenseProducts, TheCeilingDoesEachThreeTimes) {
  const testing::SingleThread single_thread;
  const ModelConfig config = small(MixerKind::kTttLinear, Backbone::kMamba, true);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    DenseCeiling ceiling(dense_products(LanguageModel(config)), /*tokens=*/70, dtype);
    EXPECT_DOUBLE_EQ(ceiling.flops(), 3 * 70 * dense_flops(config));
    ceiling.run();
  }
}

// Forward and every gradient in fp64, with a short last mini-batch.
TEST(NaiveTtt, AgreesWithTheComposedRow) {
  const testing::SingleThread single_thread;
  for (const TttNet& net : {ttt_linear_net(), ttt_mlp_net(), testing::net_of(3, {.residual = false})}) {
    for (const std::int64_t time : {1, 16, 37}) {
      const testing::Sizes s{net, 2, 3, time, 6, 8};
      const testing::Arguments a = testing::random_arguments(s);
      const at::Tensor grad_o = at::randn({2, 3, time, 6}, at::kDouble);
      TttSaved saved;
      const TttKernel& composed = ttt_kernels(net)[ttt_kernels(net).size() - 2];
      ASSERT_EQ(composed.name, "composed");
      const at::Tensor expected = composed.run.forward(net, a.inputs, a.weights, 8, &saved);
      const TttGradients gradients = composed.run.backward(net, grad_o, a.inputs, a.weights, 8, saved);

      std::vector<at::Tensor> leaves;
      for (const auto& [name, tensor] : a.named()) leaves.push_back(tensor.requires_grad_(true));
      const at::Tensor o = naive_ttt(net, a.inputs, a.weights, 8);
      EXPECT_LE(relative_error(o.detach(), expected), 1e-12) << s;
      const auto actual = torch::autograd::grad({o}, leaves, {grad_o}, {}, false, /*allow_unused=*/true);
      const auto named = testing::named(gradients);
      for (std::size_t i = 0; i < named.size(); ++i) {
        // Without a full mini-batch some gradients are zero and the graph does not reach their leaf.
        const at::Tensor gradient = actual[i].defined() ? actual[i] : at::zeros_like(leaves[i]);
        if (named[i].second.abs().max().item<double>() == 0) {
          EXPECT_EQ(gradient.abs().max().item<double>(), 0) << named[i].first << ", " << s;
        } else {
          EXPECT_LE(relative_error(gradient, named[i].second), 1e-11) << named[i].first << ", " << s;
        }
      }
    }
  }
}

OpSizes small_sizes() {
  OpSizes sizes{1, 2, 16, 40, 16};
  sizes.vocab = 100;
  return sizes;
}

// Every op of the table, small: rows agree with fp64, naive is the last of them.
TEST(BenchOp, EveryOpRuns) {
  for (const BenchOp& op : op_table()) {
    const OpBench bench = bench_op(op.name, small_sizes(), {.threads = 1, .repeats = 2, .row = ""});
    ASSERT_GE(bench.rows.size(), 2U) << op.name;
    EXPECT_EQ(bench.rows.back().name, "naive");
    for (const OpRow& row : bench.rows) {
      EXPECT_LE(row.errors.output, 1e-4) << op.name << " " << row.name;
      EXPECT_LE(row.errors.gradients, 1e-4) << op.name << " " << row.name;
      EXPECT_GT(row.whole().min, 0);
    }
    const Json json = to_json(bench);
    EXPECT_EQ(json["rows"].size(), bench.rows.size());
    EXPECT_EQ(json["op"], op.name);
  }
}

TEST(BenchOp, EveryOpRunsInBf16) {
  OpSizes sizes = small_sizes();
  sizes.dtype = at::kBFloat16;
  for (const BenchOp& op : op_table()) {
    const OpBench bench = bench_op(op.name, sizes, {.threads = 1, .repeats = 1, .row = ""});
    for (const OpRow& row : bench.rows) {
      EXPECT_LE(row.errors.output, 0.1) << op.name << " " << row.name;
      EXPECT_LE(row.errors.gradients, 0.1) << op.name << " " << row.name;
    }
  }
}

TEST(BenchDecode, CountsWeightsAndStates) {
  for (const auto& [mixer, grows] : {std::pair(MixerKind::kTttLinear, false), std::pair(MixerKind::kAttention, true)}) {
    for (const DType dtype : {DType::kFp32, DType::kBf16}) {
      RunConfig config;
      config.model = small(mixer, Backbone::kTransformer, /*tied=*/true);
      config.train.threads = 1;
      config.train.dtype = dtype;
      const DecodeBench bench = bench_decode(config, {.prompts = {8, 40}, .tokens = 3, .repeats = 2});
      ASSERT_EQ(bench.after.size(), 2U);
      EXPECT_EQ(static_cast<double>(bench.weight_bytes),
                dense_flops(config.model) / 2 * (dtype == DType::kBf16 ? 2 : 4));
      EXPECT_EQ(bench.after[1].state_bytes > bench.after[0].state_bytes, grows);
      for (const DecodeAfter& run : bench.after) EXPECT_GT(run.token.min, 0);
      EXPECT_EQ(to_json(bench)["after"][1]["prompt_tokens"], 40);
    }
  }
}

TEST(BenchOp, RowsThatCannotTakeTheCallAreNamed) {
  OpSizes sizes = small_sizes();
  sizes.dtype = at::kBFloat16;
  const OpBench bench = bench_op("ttt_linear", sizes, {.threads = 1, .repeats = 1, .row = ""});
  EXPECT_EQ(bench.rows.size() + bench.op.left_out.size(), ttt_kernels(ttt_linear_net()).size() + 1);
  EXPECT_LE(bench.rows.back().errors.output, 0.1);  // naive, in bf16
}

TEST(BenchOp, OneRowAlone) {
  const OpBench bench = bench_op("ttt_mlp", small_sizes(), {.threads = 2, .repeats = 1, .row = "composed"});
  ASSERT_EQ(bench.rows.size(), 2U);
  EXPECT_EQ(bench.rows[0].name, "composed");
  EXPECT_DOUBLE_EQ(
      bench.times_best_naive(bench.rows[0]),
      std::min(bench.rows[1].whole().median, bench.rows[1].one_thread.median) / bench.rows[0].whole().median);
}

void expect_refused(const std::string& op, const std::string& row, const std::string& text) {
  try {
    bench_op(op, small_sizes(), {.threads = 1, .repeats = 1, .row = row});
    FAIL() << op << " " << row;
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

TEST(BenchOp, LongSequencesAreCheckedInPart) {
  OpSizes sizes{2, 1, 16, 3000, 16};
  const OpBench bench = bench_op("rms_norm", sizes, {.threads = 1, .repeats = 1, .row = ""});
  EXPECT_TRUE(bench.is_checked_in_part());
  EXPECT_EQ(bench.checked.batch, 1);
  EXPECT_EQ(bench.checked.context, 2048);
  for (const OpRow& row : bench.rows) {
    EXPECT_GT(row.errors.output, 0) << row.name;
    EXPECT_LE(row.errors.output, 1e-6) << row.name;
  }
  EXPECT_EQ(to_json(bench)["checked_context"], 2048);
  EXPECT_FALSE(bench_op("rms_norm", small_sizes(), {.threads = 1, .repeats = 1, .row = ""}).is_checked_in_part());
}

TEST(BenchOp, AttentionBesideTheInnerLoop) {
  OpSizes sizes = small_sizes();
  sizes.attention = true;
  const OpBench bench = bench_op("ttt_linear", sizes, {.threads = 1, .repeats = 1, .row = ""});
  const OpRow& attention = bench.rows[bench.rows.size() - 2];
  ASSERT_EQ(attention.name, "attention");
  EXPECT_LE(attention.errors.gradients, 1e-5);
  // 2 K (T + 1) a token and head, three times that with the backward pass.
  EXPECT_DOUBLE_EQ(attention.whole_rate, 3 * 2 * 16 * 41 / attention.whole().median / 1e3);
}

// `ttt bench op NAME --plan` finds each kernel by its op's name; attention and dense layers are LibTorch's.
TEST(BenchOp, EveryOpHasThePlansOfItsKernels) {
  std::set<std::string> planned, ops;
  for (const auto& plan : kernels::cuda::emulated::kernels().plans()) planned.insert(plan.op);
  for (const BenchOp& op : op_table()) ops.insert(op.name);
  for (const char* without : {"attention", "linear", "gated_delta", "conv_silu"}) ops.erase(without);
  EXPECT_EQ(planned, ops);
}

// Every op; the fp32 and bf16 rows of CUDA kernels by emulated lanes.
TEST(CheckOp, RowsOfEmulatedCudaKernelsAreRight) {
  const testing::SingleThread single_thread;
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
  for (const BenchOp& op : op_table()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      OpSizes sizes{1, 2, 64, 21, 16};
      sizes.vocab = 100;
      sizes.dtype = dtype;
      sizes.checked_only = true;
      const OpChecks checks = check_op(op.name, {sizes});
      EXPECT_TRUE(checks.passed()) << to_json(checks).dump(2);
      const std::string name = op.name;
      const std::string first = name == "attention"                            ? "sdpa"
                                : name == "linear"                             ? "libtorch"
                                : name == "gated_delta" || name == "conv_silu" ? "fused"
                                                                               : "cuda";
      EXPECT_TRUE(checks.checks.front().row.starts_with(first)) << name << ": " << checks.checks.front().row;
      EXPECT_EQ(to_json(checks)["checks"].size(), checks.checks.size());
    }
  }
}

TEST(CheckOp, ARowAlone) {
  const OpChecks checks = check_op("rms_norm", {small_sizes()}, "fused");
  ASSERT_EQ(checks.checks.size(), 1U);
  EXPECT_EQ(checks.checks[0].row, "fused");
  EXPECT_THROW(check_op("rms_norm", {small_sizes()}, "fusde"), UserError);
}

TEST(CheckOp, OneWrongRowFailsIt) {
  OpChecks checks;
  EXPECT_FALSE(checks.passed());  // nothing was checked
  OpCheck check;
  check.errors = {1e-7, 1e-6};
  check.tolerance = 1e-5;
  checks.checks = {check, check};
  EXPECT_TRUE(checks.passed());
  checks.checks[1].errors.gradients = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(checks.passed());
  checks.checks[1] = check;
  checks.checks[1].failure = "an illegal memory access";
  EXPECT_FALSE(checks.passed());
}

TEST(CheckOp, OddShapesOfBothTypesAndHeadSizes) {
  const std::vector<OpSizes> all = check_sizes(at::kCPU);
  const auto some = [&](auto is) { return std::any_of(all.begin(), all.end(), is); };
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const std::int64_t head_dim : {64, 96})
      EXPECT_TRUE(some([&](const OpSizes& s) { return s.dtype == dtype && s.head_dim == head_dim; }));
  }
  EXPECT_TRUE(some([](const OpSizes& s) { return s.context % s.mini_batch != 0 && s.batch > 1 && s.heads > 1; }));
  EXPECT_TRUE(some([](const OpSizes& s) { return s.context < s.mini_batch; }));
}

TEST(Devices, PeaksOfKnownGpus) {
  EXPECT_EQ(dense_bf16_peak("NVIDIA A100-SXM4-80GB"), 312e12);
  EXPECT_EQ(dense_bf16_peak("NVIDIA H100 80GB HBM3"), 989e12);
  EXPECT_EQ(dense_bf16_peak("NVIDIA H200"), 989e12);
  for (const char* gpu : {"NVIDIA H100 PCIe", "NVIDIA H100 NVL", "NVIDIA GeForce RTX 4090", ""})
    EXPECT_EQ(dense_bf16_peak(gpu), 0) << gpu;
}

TEST(Devices, TheCpu) {
  EXPECT_EQ(gpu_name(at::kCPU), "");
  EXPECT_GE(peak_memory(at::kCPU), 10'000'000);
  reset_peak_memory(at::kCPU);
  const DeviceTimer timer(at::kCPU);
  EXPECT_GE(timer.seconds(), 0);
}

TEST(BenchOp, UnknownNamesAreRefusedWithTheNearest) {
  expect_refused("ttt_liner", "", "did you mean 'ttt_linear'?");
  expect_refused("frobnicate", "", "there are ttt_linear, ttt_mlp");
  expect_refused("ttt_mlp", "compsed", "did you mean 'composed'?");
}

RunConfig tiny_run() {
  RunConfig config;
  config.model = small(MixerPattern({MixerKind::kTttLinear, MixerKind::kMamba}), Backbone::kMamba, true);
  config.train.context = 12;
  config.train.batch_tokens = 48;
  config.train.micro_batch = 2;
  config.train.threads = 1;
  config.optim.warmup_steps = 0;
  config.optim.decay_steps = 100;
  return config;
}

TEST(BenchModel, TrainsAndReports) {
  const ModelBench bench = bench_model(tiny_run(), 3);
  EXPECT_LT(bench.last_loss, bench.first_loss);  // the same tokens each step: real updates lower their loss
  EXPECT_EQ(bench.products, 3 * 2 * static_cast<std::int64_t>(dense_products(LanguageModel(tiny_run().model)).size()));
  EXPECT_DOUBLE_EQ(bench.dense_flops, 3 * 48 * dense_flops(tiny_run().model));
  ASSERT_EQ(bench.kernels.size(), 1U);
  EXPECT_EQ(bench.kernels[0].first, "ttt_linear");
  EXPECT_GT(bench.peak_memory, 10'000'000);
  EXPECT_DOUBLE_EQ(bench.model_flops, training_flops(tiny_run().model, 12).exact);
  const Json json = to_json(bench);
  for (const char* key : {"tokens_per_second", "gemm_ceiling_fraction", "peak_memory_bytes", "step_ms", "forward_ms",
                          "backward_ms", "optimizer_ms", "gemm_ceiling_tokens_per_second", "gemm_gflops", "machine"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(json["device"], "cpu");
  EXPECT_FALSE(json.contains("mfu"));
  EXPECT_DOUBLE_EQ(json["gemm_ceiling_fraction"].get<double>(),
                   bench.tokens_per_second() / bench.ceiling_tokens_per_second());
}

}  // namespace
}  // namespace ttt
