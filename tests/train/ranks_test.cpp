// Trainers in processes of their own that train together: losses over unevenly scored sequences, a gradient that is not
// finite on one rank alone, what they check of each other.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cstdlib>
#include <limits>

#include "base/rng.h"
#include "data/prepare.h"
#include "kernels/cuda/kernel_table.h"
#include "ops/cuda_target.h"
#include "train/rank_trainer.h"
#include "train/tiny_run.h"

namespace ttt {
namespace {

constexpr int kSteps = 6;

class RanksTest : public TinyRunTest {
 protected:
  // Documents of very different lengths, so that the ranks' shares have different numbers of scored targets.
  void SetUp() override {
    ScratchTest::SetUp();
    std::vector<std::int32_t> stream;
    CounterRng rng(11);
    for (int i = 0; i < 24 * 40 + 1; ++i) {
      const bool dense = i / (24 * 4) % 2 == 0;
      stream.push_back(rng.uniform() < (dense ? 0.4 : 0.02) ? 0 : static_cast<std::int32_t>(rng.next() % 17));
    }
    write_npy(scratch_ / "stream.npy", stream);
    prepare("data", 17, /*bos_id=*/0);
  }

  RunConfig config(const std::string& output) const {
    RunConfig config = TinyRunTest::config(MixerPattern({MixerKind::kTttMlp, MixerKind::kAttention}), output);
    config.data.order = DataOrder::kSequential;
    config.train.batch_tokens = 24 * 8;
    config.train.micro_batch = 1;
    config.train.steps = kSteps;
    config.optim.decay_steps = kSteps;
    config.dist.timeout_seconds = 60;
    return config;
  }

  static ExitCode train(const RunConfig& config, const World& world) {
    ExitCode code = ExitCode::kFailed;
    with_trainer(config, world, [&](Trainer& trainer, Communicator*) { code = trainer.run(); });
    return code;
  }

  static std::vector<Json> lines(const RunConfig& config) {
    return read_metrics(fs::path(config.output_dir) / "metrics.jsonl", "train");
  }
};

// The order of fp32 sums is all that may differ: some 1e-7 a step, and 1e-5 after a few.
TEST_F(RanksTest, LossesAreAveragedOverTheScoredTargetsOfAllRanks) {
  for (const LossAverage average : {LossAverage::kTokens, LossAverage::kSequences}) {
    std::vector<Json> alone;
    for (const int size : {1, 2, 4, 8}) {
      RunConfig c = config(cat("run", size, average == LossAverage::kTokens ? "tokens" : "sequences"));
      c.train.loss_average = average;
      c.train.reset_at_documents = true;
      c.dist.zero = size == 4 ? 1 : 0;
      expect_all_ok(run_ranks(size, [&](const World& world) { EXPECT_EQ(train(c, world), ExitCode::kOk); }));
      const std::vector<Json> own = lines(c);
      ASSERT_EQ(own.size(), static_cast<std::size_t>(kSteps));
      if (size == 1) alone = own;
      for (std::size_t i = 0; i < own.size(); ++i) {
        for (const char* key : {"loss", "grad_norm"})
          EXPECT_NEAR(own[i].at(key).get<double>() / alone[i].at(key).get<double>(), 1, 1e-5)
              << key << " of step " << i + 1 << " with " << size << " ranks";
        EXPECT_EQ(own[i].at("tokens"), alone[i].at("tokens"));
      }
    }
  }
}

// Losses by position are collected from all ranks; documents are counted once, whoever read their windows.
TEST_F(RanksTest, LossesByPositionAreOfAllRanks) {
  std::vector<Json> alone;
  for (const int size : {1, 3}) {
    RunConfig c = config(cat("positions", size));
    c.data.valid = c.data.train;
    c.train.batch_tokens = 24 * 6;
    c.train.steps = 2;
    c.train.position_loss_every = 1;
    c.optim.lr = 1e-9;  // so that the models are the same
    c.optim.end_lr = 0;
    expect_all_ok(run_ranks(size, [&](const World& world) { EXPECT_EQ(train(c, world), ExitCode::kOk); }));
    const std::vector<Json> own = read_metrics(fs::path(c.output_dir) / "metrics.jsonl", "position_loss");
    ASSERT_EQ(own.size(), 2u);
    EXPECT_EQ(own[0].at("positions").back().at("to"), 24);
    EXPECT_EQ(own[0].at("intervals").at("over"), "documents");
    if (size == 1) alone = own;
    EXPECT_EQ(own[0].at("intervals"), alone[0].at("intervals"));
    ASSERT_EQ(own[0].at("positions").size(), alone[0].at("positions").size());
    for (std::size_t i = 0; i < own[0].at("positions").size(); ++i) {
      const Json &a = alone[0].at("positions")[i], &b = own[0].at("positions")[i];
      EXPECT_EQ(a.at("tokens"), b.at("tokens"));
      for (const char* key : {"loss", "low", "high"})
        EXPECT_NEAR(a.at(key).get<double>(), b.at(key).get<double>(), 1e-5) << key << " of " << i;
    }
  }
}

// All micro-steps of a rank but the last one, in which gradients are summed, may be launches of a graph.
TEST_F(RanksTest, MicroStepsAsAGraphChangeNothing) {
  RunConfig plain = config("plain"), graph = config("graph");
  graph.train.cuda_graph = true;
  for (RunConfig* c : {&plain, &graph}) {
    c->model.mixer = MixerKind::kAttention;
    c->model.backbone = Backbone::kTransformer;
    c->train.steps = 2;
    expect_all_ok(run_ranks(2, [&](const World& world) {
      const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
      EXPECT_EQ(train(*c, world), ExitCode::kOk);
    }));
  }
  EXPECT_EQ(read_file(newest(plain) / "model.safetensors"), read_file(newest(graph) / "model.safetensors"));
  EXPECT_NE(read_file(fs::path(graph.output_dir) / "train.log").find("one CUDA graph"), std::string::npos);
}

// Rank 1 alone gets gradients that are not numbers, in step 3, once: all skip that step, and go on alike.
TEST_F(RanksTest, AStepThatIsNotFiniteOnOneRankIsSkippedByAll) {
  const RunConfig c = config("skipped");
  expect_all_ok(run_ranks(2, [&](const World& world) {
    setenv("TTT_FAULT", "nan_gradient@3:1", /*overwrite=*/1);
    with_trainer(c, world, [](Trainer& trainer, Communicator* ranks) {
      trainer.step();
      trainer.step();
      EXPECT_THROW(trainer.step(), Trainer::BadStep);
      EXPECT_EQ(trainer.state().step, 2);
      EXPECT_EQ(trainer.run(), ExitCode::kOk);
      std::string bytes;
      for (const torch::Tensor& parameter : trainer.model().parameters())
        bytes.append(static_cast<const char*>(parameter.const_data_ptr()), parameter.nbytes());
      for (const std::string& other : ranks->all_gather(bytes)) EXPECT_TRUE(other == bytes);
    });
  }));
  const RunConfig skipping = config("skipping");
  expect_all_ok(run_ranks(2, [&](const World& world) {
    setenv("TTT_FAULT", "nan_gradient@3:1", /*overwrite=*/1);
    EXPECT_EQ(train(skipping, world), ExitCode::kOk);
  }));
  const auto skipped = read_metrics(fs::path(skipping.output_dir) / "metrics.jsonl", "skipped");
  ASSERT_EQ(skipped.size(), 1u);
  EXPECT_EQ(skipped.front().at("step"), 3);
  EXPECT_EQ(lines(skipping).size(), static_cast<std::size_t>(kSteps - 1));
}

TEST_F(RanksTest, ATraceShowsGradientsSummedDuringTheBackwardPass) {
  RunConfig c = config("profiled");
  c.model.hidden_size = 256;  // some 20 MB of gradients: more than one bucket
  c.model.num_layers = 4;
  c.model.num_heads = 4;
  c.model.intermediate_size = 512;
  c.train.steps = 2;
  c.train.micro_batch = 4;
  c.profile.first_step = 2;
  c.dist.zero = 1;
  expect_all_ok(run_ranks(2, [&](const World& world) { EXPECT_EQ(train(c, world), ExitCode::kOk); }));
  for (const int rank : {0, 1}) {
    const Json trace = Json::parse(read_file(fs::path(c.output_dir) / cat("trace-step00000002-rank", rank, ".json")));
    double backward_end = 0, first_sum = std::numeric_limits<double>::max(), first_gather = first_sum,
           optimizer_end = 0;
    for (const Json& event : trace.at("traceEvents")) {
      if (event.value("ph", "") != "X") continue;
      const std::string name = event.at("name");
      const double begin = event.at("ts"), end = begin + event.at("dur").get<double>();
      if (name == "backward") backward_end = end;
      if (name == "optimizer") optimizer_end = end;
      if (name == "gloo:all_reduce" && event.at("dur") > 500) first_sum = std::min(first_sum, begin);
      if (name.starts_with("gloo:all_gather")) first_gather = std::min(first_gather, begin);
    }
    EXPECT_LT(first_sum, backward_end);
    EXPECT_LT(first_gather, optimizer_end);
  }
}

TEST_F(RanksTest, OtherDataOnOneMachineAreNoticed) {
  RunConfig c = config("differ");
  c.data.train = "data";
  std::vector<std::int32_t> other(24 * 40 + 1, 3);
  write_npy(scratch_ / "stream.npy", other);
  prepare("there/data", 17, /*bos_id=*/0);
  const auto ends = run_ranks(2, [&](const World& world) {
    fs::current_path(world.rank == 0 ? scratch_ : scratch_ / "there");
    train(c, world);
  });
  for (const RankEnd& end : ends) {
    EXPECT_EQ(end.code, 2);
    EXPECT_NE(end.message.find("rank 1 has training data with the fingerprint"), std::string::npos) << end.message;
  }
  EXPECT_FALSE(fs::exists(c.output_dir));
}

TEST_F(RanksTest, StepsThatCannotBeSharedAreRefusedWithNumbersThatFit) {
  const auto refusal = [&](std::int64_t ranks, std::int64_t micro_batch) {
    RunConfig c = config("run");
    c.train.micro_batch = micro_batch;
    try {
      check_shares(c, ranks);
      return std::string();
    } catch (const UserError& error) {
      return std::string(error.what());
    }
  };
  EXPECT_EQ(refusal(8, 1), "");
  EXPECT_EQ(refusal(2, 4), "");
  EXPECT_EQ(refusal(3, 1),
            "train.batch_tokens 192 makes 8 sequences a step, which 3 processes cannot share evenly; use "
            "train.batch_tokens 144 or 216, or another number of processes");
  EXPECT_EQ(refusal(16, 0),
            "train.batch_tokens 192 makes 8 sequences a step, which 16 processes cannot share evenly; use "
            "train.batch_tokens 384, or another number of processes");
  EXPECT_EQ(
      refusal(4, 4),
      "train.batch_tokens 192 makes 8 sequences a step, which 4 processes in micro-batches of 4 cannot share "
      "evenly; use train.batch_tokens 384, another train.micro_batch (0: chosen), or another number of processes");
}

}  // namespace
}  // namespace ttt
