// What a training does when something breaks: damaged checkpoints, saves that fail, steps that are not finite, loss
// spikes.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <functional>
#include <limits>

#include "train/tiny_run.h"
#include "train/trainer.h"

namespace ttt {
namespace {

class RecoveryTest : public TinyRunTest {};

void flip_a_bit(const fs::path& file) {
  std::string bytes = read_file(file);
  bytes[bytes.size() - 3] = static_cast<char>(bytes[bytes.size() - 3] ^ 4);
  std::ofstream(file, std::ios::binary) << bytes;
}

TEST_F(RecoveryTest, FallsBackFromADamagedCheckpoint) {
  RunConfig c = config();
  c.checkpoint.every = 3;
  c.checkpoint.keep_last = 0;
  run(c);
  const fs::path root = fs::path(c.output_dir) / "checkpoints";
  const std::string model = read_file(checkpoint_path(root, 12) / "model.safetensors");
  flip_a_bit(checkpoint_path(root, 12) / "model.safetensors");
  fs::remove(checkpoint_path(root, 9) / "COMPLETE");

  // Another config is refused before anything is moved.
  RunConfig other = c;
  other.train.seed = 5;
  EXPECT_NE(refusal(other).find("train.seed"), std::string::npos) << refusal(other);
  EXPECT_TRUE(fs::exists(checkpoint_path(root, 12)));

  EXPECT_EQ(Trainer(c, {.quiet = true}).state().step, 6);
  EXPECT_TRUE(fs::exists(root / "step_00000012.damaged" / "model.safetensors"));
  EXPECT_TRUE(fs::exists(root / "step_00000009.damaged" / "model.safetensors"));
  const std::string log = read_file(fs::path(c.output_dir) / "train.log");
  EXPECT_NE(log.find("step_00000012.damaged', and the run falls back to '"), std::string::npos) << log;

  EXPECT_EQ(run(c), ExitCode::kOk);
  EXPECT_EQ(read_file(checkpoint_path(root, 12) / "model.safetensors"), model);
  EXPECT_EQ(read_metrics(fs::path(c.output_dir) / "metrics.jsonl", "train").size(), 12u);
}

TEST_F(RecoveryTest, StopsWhenEveryCheckpointIsDamaged) {
  RunConfig c = config();
  c.checkpoint.every = 6;
  run(c);
  const fs::path root = fs::path(c.output_dir) / "checkpoints";
  flip_a_bit(checkpoint_path(root, 6) / "state.json");
  flip_a_bit(checkpoint_path(root, 12) / optimizer_file_name(0, 1));
  for (int again = 0; again < 2; ++again) {
    const std::string message = refusal(c);
    EXPECT_NE(message.find("step_00000012"), std::string::npos) << message;
    EXPECT_NE(message.find("those before it are damaged too"), std::string::npos) << message;
    EXPECT_EQ(list_step_folders(root).size(), 2u);
  }
}

TEST_F(RecoveryTest, AFailedSaveEndsTheRun) {
  for (const bool async : {true, false}) {
    RunConfig c = config(MixerKind::kTttLinear, async ? "beside" : "waiting");
    c.checkpoint.every = 3;
    c.checkpoint.async = async;
    const fs::path in_the_way = checkpoint_path(fs::path(c.output_dir) / "checkpoints", 6);
    Trainer trainer(c, {.quiet = true});
    fs::create_directories(in_the_way);
    std::ofstream(in_the_way / "thesis.txt") << "text";
    try {
      trainer.run();
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("is there already and is no checkpoint"), std::string::npos)
          << error.what();
    }
    EXPECT_EQ(list_checkpoints(fs::path(c.output_dir) / "checkpoints").front().first, 3);
    EXPECT_TRUE(fs::exists(in_the_way / "thesis.txt"));
  }
}

TEST_F(RecoveryTest, ADivergedRunStopsWithTheStep) {
  RunConfig c = config();
  c.train.max_skipped_steps = 0;
  c.optim.clip_grad_norm = 0;
  Trainer trainer(c, {.quiet = true});
  trainer.step();
  {
    const torch::NoGradGuard no_grad;
    trainer.model().parameters().front().fill_(std::numeric_limits<float>::quiet_NaN());
  }
  try {
    trainer.run();
    FAIL() << "no error";
  } catch (const UserError&) {
    FAIL() << "not the user's fault: exit code 1";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("step 2"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(list_checkpoints(fs::path(c.output_dir) / "checkpoints").empty());
}

TEST_F(RecoveryTest, ADivergedRunLeavesItsLastGoodStep) {
  RunConfig c = config();
  c.optim.warmup_steps = 0;
  c.optim.lr = 1e30;  // the first update takes every weight far away; the second loss is not finite
  c.train.max_skipped_steps = 0;
  c.optim.weight_decay = 0;
  try {
    run(c);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("step 2"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("the last good step is saved"), std::string::npos) << error.what();
  }
  const auto saved = list_checkpoints(fs::path(c.output_dir) / "checkpoints");
  ASSERT_EQ(saved.size(), 1u);
  EXPECT_EQ(saved.front().first, 1);
  EXPECT_TRUE(verify_checkpoint(saved.front().second).problems.empty());
}

// A trainer whose gradients are not numbers while `bad(cursor)` holds.
class Troubled {
 public:
  Troubled(const RunConfig& config, std::function<bool(const TrainState&)> bad)
      : trainer_(config, {.quiet = true}), bad_(std::move(bad)) {
    trainer_.model().parameters().front().register_hook([this](const torch::Tensor& gradient) {
      return bad_(trainer_.state()) ? gradient * std::numeric_limits<float>::quiet_NaN() : gradient;
    });
  }
  Trainer* operator->() { return &trainer_; }

 private:
  Trainer trainer_;
  std::function<bool(const TrainState&)> bad_;
};

// The step counts and consumes its samples, and nothing else changes: the moments go on from the update before.
TEST_F(RecoveryTest, AStepThatIsNotFiniteIsSkipped) {
  RunConfig c = config();
  c.train.max_skipped_steps = 1;
  Troubled trainer(c, [](const TrainState& state) { return state.step == 4 || state.step == 6; });
  ASSERT_EQ(trainer->run(), ExitCode::kOk);
  EXPECT_EQ(trainer->state().step, 12);
  EXPECT_EQ(trainer->state().cursor, 48);
  EXPECT_EQ(trainer->state().skipped, 2);
  EXPECT_EQ(trainer->state().rollbacks, 0);
  const auto skipped = read_metrics(fs::path(c.output_dir) / "metrics.jsonl", "skipped");
  ASSERT_EQ(skipped.size(), 2u);
  EXPECT_EQ(skipped[0].at("step"), 5);
  EXPECT_EQ(skipped[0].at("samples"), Json({16, 20}));
  EXPECT_EQ(skipped[1].at("skipped"), 2);
  EXPECT_EQ(read_metrics(fs::path(c.output_dir) / "metrics.jsonl", "train").size(), 10u);

  // Resumed between the two it ends alike, bit for bit: AdamW's count of updates is not the step.
  RunConfig d = config(MixerKind::kTttLinear, "resumed");
  d.train.max_skipped_steps = 1;
  const auto bad = [](const TrainState& state) { return state.step == 4 || state.step == 6; };
  d.train.steps = 5;
  Troubled(d, bad)->run();
  d.train.steps = 12;
  Troubled(d, bad)->run();
  expect_same_end(c, d);
}

TEST_F(RecoveryTest, WhereSkippingDoesNotHelpTheRunGoesBackAndLeavesTheSamplesOut) {
  const auto bad = [](const TrainState& state) {  // samples 16 to 23
    return state.passed_over.ranges().empty() && state.cursor >= 16 && state.cursor < 24;
  };
  RunConfig c = config();
  c.train.max_skipped_steps = 1;
  c.checkpoint.every = 3;
  Troubled trainer(c, bad);
  ASSERT_EQ(trainer->run(), ExitCode::kOk);
  EXPECT_EQ(trainer->state().rollbacks, 1);
  EXPECT_EQ(trainer->state().passed_over.ranges(), (std::vector<PassedOver::Range>{{16, 24}}));
  EXPECT_EQ(trainer->state().step, 12);
  EXPECT_EQ(trainer->state().cursor, 56);  // 12 steps of 4 samples, and 8 left out
  EXPECT_EQ(trainer->state().skipped, 0) << "the steps that were skipped in vain are done again";
  const auto rollbacks = read_metrics(fs::path(c.output_dir) / "metrics.jsonl", "rollback");
  ASSERT_EQ(rollbacks.size(), 1u);
  EXPECT_EQ(rollbacks[0].at("step"), 3);
  EXPECT_EQ(rollbacks[0].at("from_step"), 6);
  const auto steps = read_metrics(fs::path(c.output_dir) / "metrics.jsonl", "train");
  ASSERT_EQ(steps.size(), 12u);
  for (std::size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i].at("step"), i + 1);

  // Stopped and resumed after the rollback: the same samples are left out, the same end.
  RunConfig d = config(MixerKind::kTttLinear, "resumed");
  d.train.max_skipped_steps = 1;
  d.checkpoint.every = 3;
  d.train.steps = 7;
  Troubled(d, bad)->run();
  d.train.steps = 12;
  Troubled(d, bad)->run();
  expect_same_end(c, d);
}

TEST_F(RecoveryTest, ARunThatKeepsFailingStopsInTheEnd) {
  RunConfig c = config();
  c.train.max_skipped_steps = 1;
  c.train.max_rollbacks = 2;
  c.checkpoint.every = 2;
  Troubled trainer(c, [](const TrainState& state) { return state.step >= 4; });
  try {
    trainer->run();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("the run diverged and stops here"), std::string::npos) << error.what();
  }
  EXPECT_EQ(trainer->state().rollbacks, 2);
}

// A loss far above the usual: the run goes back and leaves out that step's samples and those of the step before.
TEST_F(RecoveryTest, ALossSpikeRollsBack) {
  RunConfig c = config();
  c.train.steps = c.optim.decay_steps = 70;
  c.train.spike_deviations = 8;
  c.checkpoint.every = 50;
  c.optim.lr = 3e-3;
  c.train.steps = 55;
  ASSERT_EQ(run(c), ExitCode::kOk);
  c.train.steps = 70;
  Trainer spoilt(c, {.quiet = true});
  ASSERT_EQ(spoilt.state().step, 55);
  const std::int64_t cursor = spoilt.state().cursor;
  {  // where the weights are spoilt all at once, so is the loss
    const torch::NoGradGuard no_grad;
    for (const torch::Tensor& parameter : spoilt.model().parameters()) parameter.mul_(-5);
  }
  ASSERT_EQ(spoilt.run(), ExitCode::kOk);
  EXPECT_EQ(spoilt.state().rollbacks, 1);
  EXPECT_EQ(spoilt.state().passed_over.ranges(), (std::vector<PassedOver::Range>{{cursor - 4, cursor + 4}}));
  EXPECT_EQ(spoilt.state().step, 70);
}

}  // namespace
}  // namespace ttt
