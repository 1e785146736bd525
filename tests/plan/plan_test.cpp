// Plans against published figures and against arithmetic done by hand.
#include "plan/plan.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "base/error.h"
#include "base/files.h"
#include "config/load.h"
#include "plan/units.h"

namespace ttt {
namespace {

ModelConfig preset(const std::string& name) {
  return load_model_config(fs::path(TTT_SOURCE_DIR) / "configs" / "model" / (name + ".yaml"));
}

// GFLOP per token of training, exact products.
double training_gflop(const std::string& name, std::int64_t context) {
  return training_flops(preset(name), context).exact / 1e9;
}

// Training cost as computed for the paper's models, without the short convolutions, to two or three digits.
TEST(Flops, ExactProductsOfThePapersModels) {
  const auto near = [](double value, double expected) { EXPECT_NEAR(value / expected, 1, 0.02) << expected; };
  near(training_gflop("ttt_linear_125m", 2048), 0.67);
  near(training_gflop("ttt_linear_350m", 2048), 2.05);
  near(training_gflop("ttt_linear_760m", 2048), 4.45);
  near(training_gflop("ttt_linear_1.3b", 2048), 7.75);
  near(training_gflop("ttt_mlp_125m", 2048), 0.77);
  near(training_gflop("ttt_mlp_350m", 2048), 2.30);
  near(training_gflop("ttt_mlp_760m", 2048), 5.01);
  near(training_gflop("ttt_mlp_1.3b", 2048), 8.26);
  near(training_gflop("attention_125m", 2048), 0.77);
  near(training_gflop("attention_125m", 8192), 1.11);
  near(training_gflop("attention_125m", 32768), 2.47);
  near(training_gflop("attention_350m", 8192), 3.22);
  near(training_gflop("attention_760m", 32768), 11.6);
  near(training_gflop("attention_1.3b", 2048), 8.28);
  near(training_gflop("attention_1.3b", 32768), 17.3);
}

TEST(Flops, TheInnerLoopsFigures) {
  EXPECT_NEAR(inner_loop_flops(MixerKind::kTttLinear, 64, 16), 28.7e3, 50);
  EXPECT_NEAR(inner_loop_flops(MixerKind::kTttMlp, 64, 16), 250e3, 500);
  EXPECT_EQ(inner_loop_flops(MixerKind::kAttention, 64, 16), 0);
  // Two steps of TTT-Linear: X W of each and Xq W, two updates; X X^T and N G of the second step's keys and, twice, of
  // the queries.
  EXPECT_EQ(inner_loop_flops(MixerKind::kTttLinear, 64, 16, 2), 5 * 2 * 64 * 64 + 3 * 2 * 2 * 16 * 64);
  // TTT-MLP: the same of two layers of K x 4K; back through the second one, G W^T twice, G G^T and its product with X.
  EXPECT_EQ(inner_loop_flops(MixerKind::kTttMlp, 64, 16, 2),
            2 * (5 * 2 * 64 * 256 + 3 * 2 * 16 * (64 + 256)) + 2 * 2 * 64 * 256 + 2 * 16 * (64 + 256));
}

// The models that the paper matched to Mamba 1.4B's training FLOPs: they are, in exact products, the Transformer at 8k.
TEST(Flops, TheMatchedModelsCostWhatMambaDoes) {
  const double mamba = training_gflop("mamba_1.4b", 8192);
  for (const char* name : {"attention_1.3b_matched", "ttt_linear_1.3b_matched", "ttt_mlp_1.3b_matched"})
    EXPECT_NEAR(training_gflop(name, 8192) / mamba, 1, 0.01) << name;
}

// Gated DeltaNet's MLPs are narrower by what its mixers have more.
TEST(Parameters, GatedDeltaNetHasTheTransformers) {
  for (const std::string size : {"125m", "350m", "760m", "1.3b"}) {
    const ModelConfig deltanet = preset("gated_deltanet_" + size);
    const auto transformer = static_cast<double>(count_parameters(preset("attention_" + size)).total);
    EXPECT_NEAR(static_cast<double>(count_parameters(deltanet).total) / transformer, 1, 0.03) << size;
    EXPECT_EQ(4 * deltanet.num_heads * deltanet.head_dim, 3 * deltanet.hidden_size) << size;
    EXPECT_EQ(count_parameters(deltanet).inner_state,
              deltanet.num_layers * deltanet.num_heads * 2 * deltanet.head_dim * deltanet.head_dim);
  }
}

TEST(Flops, GatedDeltaNetByHand) {
  ModelConfig m;
  m.mixer = MixerKind::kGatedDeltaNet;
  m.pre_conv = false;
  m.vocab_size = 5, m.hidden_size = 8, m.num_layers = 1, m.intermediate_size = 3;
  m.num_heads = 2, m.head_dim = 4, m.expand_v = 2;  // K 4, V 8
  const double dense = 2 * (2 * 8 * 8 + 2 * 16 * 8 + 2 * 2 * 8 + 8 * 16), convolutions = 2 * 4 * (8 + 8 + 16);
  const double op = 2 * (6 * 4 * 8 + 2 * 64 * (4 + 8)), mlp = 2 * 3 * 8 * 3, head = 2 * 5 * 8;
  EXPECT_EQ(forward_flops(m, 100).exact, dense + convolutions + op + mlp + head);
  EXPECT_EQ(dense_flops(m), dense + mlp + head);
  EXPECT_EQ(decoding_state_bytes(m, 100), 4 * (2 * 4 * 8 + 3 * (8 + 8 + 16)));
}

TEST(Flops, SixNdAndChinchillaByHand) {
  ModelConfig m;
  m.mixer = MixerKind::kAttention;
  m.pre_conv = false;
  m.vocab_size = 10;
  m.hidden_size = 4;
  m.num_layers = 1;
  m.num_heads = 2;
  m.intermediate_size = 3;
  // Embedding 40; norms 4 + 4 + 4; attention 4 * 16; MLP 3 * 12.
  const std::int64_t total = 40 + 12 + 64 + 36;
  EXPECT_EQ(count_parameters(m).total, total);
  EXPECT_EQ(count_parameters(m).non_embedding(), total - 40);
  const Flops forward = forward_flops(m, 8);
  EXPECT_EQ(forward.six_nd, 2 * total);
  // Embedding 2*10*4; projections 2*4*16; scores and their values 2 * 2*8*4; softmax 3*2*8; MLP 2*36; logits 2*10*4.
  EXPECT_EQ(forward.chinchilla, 80 + 128 + 128 + 48 + 72 + 80);
  // 4.5 keys a query on average.
  EXPECT_EQ(forward.exact, 128 + 2 * 2 * 4.5 * 4 + 72 + 80);
  EXPECT_EQ(training_flops(m, 8).exact, 3 * forward.exact);
  // An untied embedding is looked up and costs nothing, but it has parameters.
  m.tie_embeddings = false;
  EXPECT_EQ(count_parameters(m).total, total + 40);
  EXPECT_EQ(forward_flops(m, 8).six_nd, 2 * total);
  EXPECT_EQ(forward_flops(m, 8).exact, forward.exact);
  // A window of 2: the first query sees one key, the other seven two.
  m.attention_window = 2;
  EXPECT_EQ(forward_flops(m, 8).exact, 128 + 2 * 2 * (15.0 / 8) * 4 + 72 + 80);
}

TEST(Flops, AHybridIsTheSumOfItsLayers) {
  ModelConfig m = preset("ttt_linear_125m");
  m.num_layers = 4;
  const auto exact = [&](MixerPattern mixer) {
    m.mixer = std::move(mixer);
    return forward_flops(m, 2048).exact;
  };
  const double attention = exact(MixerKind::kAttention), linear = exact(MixerKind::kTttLinear);
  const double hybrid =
      exact(MixerPattern({MixerKind::kTttLinear, MixerKind::kTttLinear, MixerKind::kTttLinear, MixerKind::kAttention}));
  EXPECT_NEAR(hybrid, (3 * linear + attention) / 4, 1);
}

TEST(Flops, RecomputeOfBlocksIsAboutAThirdMore) {
  const ModelConfig m = preset("attention_125m");
  const double head = 2.0 * 32000 * 768;
  EXPECT_EQ(recompute_flops(m, 2048, false), head);
  EXPECT_EQ(recompute_flops(m, 2048, true), forward_flops(m, 2048).exact);
  const ModelConfig linear = preset("ttt_linear_125m");
  EXPECT_NEAR(recompute_flops(linear, 2048, false), head + 144 * 28.7e3, 1e4);
}

TEST(DecodingState, ConstantForTttAndMambaGrowingForAttention) {
  for (const char* name : {"ttt_linear_125m", "ttt_mlp_125m", "mamba_130m"}) {
    const ModelConfig m = preset(name);
    EXPECT_EQ(decoding_state_bytes(m, 10), decoding_state_bytes(m, 32768)) << name;
  }
  ModelConfig attention = preset("attention_125m");
  EXPECT_EQ(decoding_state_bytes(attention, 1000), 1000 * 12 * 2 * 768 * 4);
  attention.attention_window = 100;
  EXPECT_EQ(decoding_state_bytes(attention, 1000), 100 * 12 * 2 * 768 * 4);
}

class PlanTest : public testing::Test {
 protected:
  PlanTest() : folder_(fs::temp_directory_path() / cat("ttt_plan_test_", getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    config_.model = preset("ttt_linear_tiny");
    config_.train.context = 64;
    config_.train.batch_tokens = 1024;
    config_.train.steps = 1000;
    config_.checkpoint = {100, 2, 0, {}};
  }
  ~PlanTest() override { fs::remove_all(folder_); }

  fs::path folder_;
  RunConfig config_;
};

TEST_F(PlanTest, StepsTokensAndHours) {
  const Plan plan = make_plan(config_, Speed{2048, "a test"});
  EXPECT_EQ(plan.tokens, 1024000);
  EXPECT_EQ(plan.sequences_per_step, 16);
  EXPECT_DOUBLE_EQ(*plan.hours(), 500.0 / 3600);
  EXPECT_FALSE(make_plan(config_).hours().has_value());
  EXPECT_EQ(to_json(make_plan(config_))["hours"], Json());
  EXPECT_EQ(to_json(plan)["steps"], 1000);
  EXPECT_EQ(to_json(plan)["speed_source"], "a test");
}

TEST_F(PlanTest, MemoryIsSixteenBytesAParameterAndActivations) {
  const Plan plan = make_plan(config_);
  const std::int64_t parameters = plan.parameters.total;
  EXPECT_EQ(plan.memory.weights + plan.memory.gradients + plan.memory.optimizer, 16 * parameters);
  EXPECT_EQ(plan.disk.checkpoint, 12 * parameters);
  EXPECT_EQ(plan.memory.saving, plan.disk.checkpoint);  // a copy of it
  config_.checkpoint.async = false;
  EXPECT_EQ(make_plan(config_).memory.saving, 0);
  config_.train.micro_batch = 1;
  const std::int64_t one = make_plan(config_).memory.activations;
  config_.train.micro_batch = 16;
  const std::int64_t sixteen = make_plan(config_).memory.activations;
  EXPECT_GT(sixteen, one);
  config_.train.recompute = true;
  EXPECT_LT(make_plan(config_).memory.activations, sixteen);
}

TEST_F(PlanTest, ZeroDividesTheMomentsAmongTheProcesses) {
  const std::int64_t parameters = make_plan(config_).parameters.total;
  const auto optimizer = [&](std::int64_t processes) {
    return make_plan(config_, std::nullopt, processes).memory.optimizer;
  };
  EXPECT_EQ(optimizer(4), 8 * parameters);
  config_.dist.zero = 1;
  EXPECT_EQ(optimizer(1), 8 * parameters);
  EXPECT_EQ(optimizer(4), 8 * ((parameters + 3) / 4));
  EXPECT_EQ(make_plan(config_).memory.exchange, 0);
  const MemoryPlan four = make_plan(config_, std::nullopt, 4).memory;
  EXPECT_GT(four.exchange, 0);
  config_.dist.reduce_dtype = ReduceDType::kBf16;
  EXPECT_EQ(make_plan(config_, std::nullopt, 4).memory.training(), four.training() + 2 * parameters);
  config_.train.micro_batch = 0;  // chosen for the share of a process
  EXPECT_EQ(make_plan(config_, std::nullopt, 16).micro_batch, 1);
  EXPECT_THROW(make_plan(config_, std::nullopt, 3), UserError);  // 16 sequences a step
}

TEST(GpuMicroBatch, FillsTheGpuWithinItsMemory) {
  constexpr std::int64_t kGiB = std::int64_t{1} << 30;
  RunConfig config;
  config.train.dtype = DType::kBf16;
  config.train.batch_tokens = 512 << 10;
  const auto of = [&](const char* name, std::int64_t context, GpuSize gpu, std::int64_t processes = 1) {
    config.model = preset(name);
    config.train.context = context;
    return gpu_micro_batch(config, gpu, processes);
  };
  const GpuSize h100{80 * kGiB, 132};
  EXPECT_EQ(of("ttt_linear_125m", 2048, h100), 16);                   // 32768 tokens, 192 heads
  EXPECT_EQ(of("ttt_linear_125m", 2048, {80 * kGiB, 200}), 32);       // more multiprocessors than heads
  EXPECT_EQ(of("ttt_linear_125m", 2048, h100, /*processes=*/32), 8);  // a process's whole share
  EXPECT_EQ(of("attention_125m", 32768, h100), 4);               // 132 heads would want 16 sequences: too much memory
  EXPECT_EQ(of("ttt_linear_1.3b", 32768, {24 * kGiB, 100}), 1);  // not even one fits, and nothing less is a sequence
  // What is chosen fits, and twice as much would not, where the memory is what bounds it.
  const std::int64_t chosen = of("ttt_linear_125m", 2048, {24 * kGiB, 132});
  const auto needs = [&](std::int64_t micro_batch) {
    config.train.micro_batch = micro_batch;
    return make_plan(config).memory.training();
  };
  EXPECT_LT(needs(chosen), 24 * kGiB);
  EXPECT_GT(static_cast<double>(needs(2 * chosen)), 0.85 * 24 * kGiB);
  // A CUDA graph keeps the activations for itself once more.
  config.train.micro_batch = 0;
  config.train.cuda_graph = true;
  EXPECT_LT(of("ttt_linear_125m", 2048, {24 * kGiB, 132}), chosen);
}

TEST_F(PlanTest, DiskFollowsRetention) {
  const auto kept = [&](CheckpointConfig checkpoint) {
    config_.checkpoint = checkpoint;
    return make_plan(config_).disk.kept;
  };
  EXPECT_EQ(kept({100, 2, 0, {}}), 2);
  EXPECT_EQ(kept({100, 0, 0, {}}), 10);
  EXPECT_EQ(kept({0, 2, 0, {}}), 1);
  EXPECT_EQ(kept({600, 5, 0, {}}), 2);
  EXPECT_EQ(kept({100, 2, 300, {}}), 4);  // 300, 600, and the last two, 900 and 1000
  EXPECT_EQ(make_plan(config_).disk.peak, 5 * make_plan(config_).disk.checkpoint);
  EXPECT_EQ(kept({100, 2, 0, {50, 200, 900}}), 4);  // 50, which nothing else saves, 200, and the last two
  EXPECT_EQ(kept({100, 2, 300, {300, 350}}), 5);
  EXPECT_EQ(kept({100, 0, 0, {100, 350}}), 11);
}

TEST_F(PlanTest, SpeedIsTheMedianOfTheLastHalf) {
  const fs::path metrics = folder_ / "metrics.jsonl";
  EXPECT_FALSE(measured_speed(metrics).has_value());
  write_file_atomically(metrics, "{\"kind\":\"valid\",\"loss\":1}\n");
  EXPECT_FALSE(measured_speed(metrics).has_value());
  std::string lines;
  for (const int speed : {1, 2, 3, 500, 100, 300})  // the first half is warm-up
    lines += cat("{\"kind\":\"train\",\"tokens_per_second\":", speed, "}\n");
  write_file_atomically(metrics, lines + "{\"kind\":\"train\",\"tokens_per_sec");  // cut off
  const auto speed = measured_speed(metrics);
  ASSERT_TRUE(speed.has_value());
  EXPECT_EQ(speed->tokens_per_second, 300);
  EXPECT_NE(speed->source.find("median of the last 3 steps"), std::string::npos) << speed->source;
}

TEST_F(PlanTest, SpeedFromTflops) {
  const double per_token = training_flops(config_.model, 64).exact + recompute_flops(config_.model, 64, false);
  EXPECT_DOUBLE_EQ(estimated_speed(config_, 2).tokens_per_second, 2e12 / per_token);
}

TEST(Units, ThreeDigits) {
  EXPECT_EQ(short_number(7), "7");
  EXPECT_EQ(short_number(0.25), "0.25");
  EXPECT_EQ(short_number(1536), "1.54k");
  EXPECT_EQ(short_number(124953600), "125M");
  EXPECT_EQ(short_number(999999), "1.00M");
  EXPECT_EQ(short_bytes(1500000000), "1.50 GB");
  EXPECT_EQ(short_hours(0.01), "36 s");
  EXPECT_EQ(short_hours(0.5), "30 min");
  EXPECT_EQ(short_hours(2.5), "2.50 h");
  EXPECT_EQ(short_hours(240), "10 days");
}

}  // namespace
}  // namespace ttt
