// The training loop on tiny models: it learns, resumes exactly, adds micro-batches up, and refuses what does not fit.
#include "train/trainer.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "base/error.h"
#include "base/rng.h"
#include "data/prepare.h"
#include "train/loss_weights.h"
#include "train/progress.h"
#include "train/scratch.h"

namespace ttt {
namespace {

class TrainerTest : public ScratchTest {
 protected:
  void SetUp() override {
    ScratchTest::SetUp();
    // A stream that a model can learn: mostly the successor of the token before, with a few jumps.
    std::vector<std::int32_t> stream;
    CounterRng rng(11);
    std::int32_t token = 0;
    for (int i = 0; i < 24 * 20 + 1; ++i) {
      token = rng.uniform() < 0.15 ? static_cast<std::int32_t>(rng.next() % 17) : (token + 1) % 17;
      stream.push_back(token);
    }
    write_npy(scratch_ / "stream.npy", stream);
    prepare("data", 17);
  }

  fs::path prepare(const std::string& name, std::int64_t vocab_size) {
    PrepareTokens options;
    options.input = scratch_ / "stream.npy";
    options.vocab_size = vocab_size;
    options.output = scratch_ / name;
    prepare_tokens(options);
    return options.output;
  }

  // 20 samples of 24 tokens, 4 a step: an epoch is 5 steps.
  RunConfig config(const MixerPattern& mixer = MixerKind::kTttLinear, const std::string& output = "run") const {
    RunConfig config;
    config.model.mixer = mixer;
    config.model.backbone = config.model.has_ttt() ? Backbone::kMamba : Backbone::kTransformer;
    config.model.pre_conv = config.model.has_ttt();
    config.model.vocab_size = 17;
    config.model.hidden_size = 16;
    config.model.num_layers = 2;
    config.model.num_heads = 2;
    config.model.intermediate_size = 32;
    config.data.train = (scratch_ / "data").string();
    config.train.context = 24;
    config.train.batch_tokens = 96;
    config.train.steps = 12;
    config.train.threads = 1;
    config.train.device = DeviceKind::kCpu;
    config.train.dtype = DType::kFp32;
    config.optim.lr = 1e-2;
    config.optim.warmup_steps = 2;
    config.optim.decay_steps = 12;
    config.output_dir = (scratch_ / output).string();
    return config;
  }

  fs::path newest(const RunConfig& config) const {
    return list_checkpoints(fs::path(config.output_dir) / "checkpoints").back().second;
  }

  static ExitCode run(const RunConfig& config) { return Trainer(config, {.quiet = true}).run(); }

  // The message of the UserError that opening the run throws.
  static std::string refusal(const RunConfig& config) {
    try {
      Trainer trainer(config, {.quiet = true});
      return "";
    } catch (const UserError& error) {
      return error.what();
    }
  }
};

TEST_F(TrainerTest, LearnsAndLeavesEverythingBehind) {
  RunConfig c = config();
  c.train.steps = c.optim.decay_steps = 40;
  c.train.stats_every = 20;
  c.train.eval_every = 20;
  c.data.valid = c.data.train;
  ASSERT_EQ(run(c), ExitCode::kOk);
  const fs::path output(c.output_dir);
  const auto lines = read_metrics(output / "metrics.jsonl", "train");
  ASSERT_EQ(lines.size(), 40u);
  EXPECT_NEAR(lines.front().at("loss").get<double>(), std::log(17.0), 0.3);
  EXPECT_LT(lines.back().at("loss").get<double>(), 1.5);
  EXPECT_EQ(lines.front().at("lr"), 0.0);
  EXPECT_EQ(lines.back().at("tokens"), 40 * 96);
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i].at("step"), i + 1);
  const auto valid = read_metrics(output / "metrics.jsonl", "valid");
  ASSERT_EQ(valid.size(), 2u);
  EXPECT_LT(valid[1].at("loss").get<double>(), valid[0].at("loss").get<double>());
  EXPECT_NEAR(valid[1].at("perplexity").get<double>(), std::exp(valid[1].at("loss").get<double>()), 1e-9);
  const auto inner = read_metrics(output / "metrics.jsonl", "inner_loop");
  ASSERT_EQ(inner.size(), 4u);  // 2 layers, steps 20 and 40
  EXPECT_EQ(inner[1].at("layer"), 1);
  EXPECT_EQ(inner[0].at("loss_w0").size(), 2u);  // 24 tokens are a mini-batch of 16 and a short one
  for (const char* name : {"config.yaml", "train.log", ".lock", "tensorboard"})
    EXPECT_TRUE(fs::exists(output / name)) << name;
  EXPECT_TRUE(verify_checkpoint(newest(c)).problems.empty());
  EXPECT_EQ(run(c), ExitCode::kOk);  // finished: nothing more is written
  EXPECT_EQ(read_metrics(output / "metrics.jsonl", "train").size(), 40u);
}

TEST_F(TrainerTest, ResumingIsBitExactInTheSecondEpochToo) {
  for (const MixerPattern& mixer :
       {MixerPattern(MixerKind::kAttention), MixerPattern(MixerKind::kMamba), MixerPattern(MixerKind::kTttLinear),
        MixerPattern(MixerKind::kTttMlp), MixerPattern({MixerKind::kTttLinear, MixerKind::kAttention})}) {
    const std::string name = to_string(mixer);
    RunConfig straight = config(mixer, name + "_straight"), resumed = config(mixer, name + "_resumed");
    run(straight);
    for (const std::int64_t steps : {2, 7, 12}) {  // an epoch is 5 steps
      resumed.train.steps = steps;
      run(resumed);
    }
    for (const char* file : {"model.safetensors", "optimizer-00000-of-00001.safetensors", "state.json"}) {
      EXPECT_EQ(read_file(newest(straight) / file), read_file(newest(resumed) / file)) << name << " " << file;
    }
    const auto a = read_metrics(fs::path(straight.output_dir) / "metrics.jsonl", "train");
    const auto b = read_metrics(fs::path(resumed.output_dir) / "metrics.jsonl", "train");
    ASSERT_EQ(a.size(), 12u);
    ASSERT_EQ(b.size(), 12u);
    for (std::size_t i = 0; i < 12; ++i) {
      EXPECT_EQ(a[i].at("loss"), b[i].at("loss")) << name << " step " << i + 1;
      EXPECT_EQ(a[i].at("grad_norm"), b[i].at("grad_norm")) << name << " step " << i + 1;
    }
  }
}

TEST_F(TrainerTest, Bf16KeepsFp32MastersFollowsFp32AndResumesBitExactly) {
  for (const MixerPattern& mixer : {MixerPattern(MixerKind::kTttLinear), MixerPattern(MixerKind::kMamba),
                                    MixerPattern({MixerKind::kTttMlp, MixerKind::kAttention})}) {
    const std::string name = to_string(mixer);
    RunConfig fp32 = config(mixer, name + "_fp32"), bf16 = config(mixer, name + "_bf16"),
              resumed = config(mixer, name + "_resumed");
    bf16.train.dtype = resumed.train.dtype = DType::kBf16;
    run(fp32);
    run(bf16);
    for (const std::int64_t steps : {5, 12}) {
      resumed.train.steps = steps;
      run(resumed);
    }
    for (const char* file : {"model.safetensors", "optimizer-00000-of-00001.safetensors"})
      EXPECT_EQ(read_file(newest(bf16) / file), read_file(newest(resumed) / file)) << name << " " << file;
    for (const auto& [key, tensor] : read_checkpoint(newest(bf16), CheckpointParts::kModel).model)
      EXPECT_EQ(tensor.scalar_type(), at::kFloat) << key;
    const auto a = read_metrics(fs::path(fp32.output_dir) / "metrics.jsonl", "train");
    const auto b = read_metrics(fs::path(bf16.output_dir) / "metrics.jsonl", "train");
    ASSERT_EQ(b.size(), 12u);
    EXPECT_NE(a.back().at("loss"), b.back().at("loss")) << name;
    for (std::size_t i = 0; i < 12; ++i)
      EXPECT_NEAR(a[i].at("loss").get<double>(), b[i].at("loss").get<double>(), 0.03) << name << " step " << i + 1;
  }
}

TEST_F(TrainerTest, AMixtureResumesBitExactlyAndHasALossForEachDomain) {
  std::vector<std::int32_t> constant(24 * 5 + 1, 3);  // 5 samples, learnt at once
  write_npy(scratch_ / "stream.npy", constant);
  const std::string easy = prepare("easy", 17).string(), hard = config().data.train.text();
  const auto mixed = [&](const std::string& output, double weight) {
    RunConfig c = config(MixerKind::kTttLinear, output);
    c.data.train = DataSources(std::vector<DataSource>{{hard, 1}, {easy, weight, "simple"}});
    c.data.valid = DataSources(std::vector<DataSource>{{hard}, {easy}});
    c.optim.decay_steps = c.train.steps = 30;
    return c;
  };
  RunConfig straight = mixed("straight", 0.5), resumed = mixed("resumed", 0.5);
  run(straight);
  for (const std::int64_t steps : {7, 30}) {  // 40 of 120 samples are of the 5: several epochs
    resumed.train.steps = steps;
    run(resumed);
  }
  for (const char* file : {"model.safetensors", "optimizer-00000-of-00001.safetensors", "state.json"}) {
    EXPECT_EQ(read_file(newest(straight) / file), read_file(newest(resumed) / file)) << file;
  }
  const Json valid = read_metrics(fs::path(straight.output_dir) / "metrics.jsonl", "valid").back();
  const double of_hard = valid.at("domains").at("data").at("loss"), of_easy = valid.at("domains").at("easy").at("loss");
  EXPECT_LT(of_easy, of_hard - 0.5);
  EXPECT_EQ(valid.at("domains").at("easy").at("tokens"), 120);
  // 481 and 121 tokens.
  EXPECT_NEAR(valid.at("loss").get<double>(), (481 * of_hard + 121 * of_easy) / 602, 1e-9);

  EXPECT_NE(refusal(mixed("straight", 0.7)).find("other weights"), std::string::npos)
      << refusal(mixed("straight", 0.7));
  EXPECT_EQ(refusal(mixed("straight", 0.5)), "");
}

TEST_F(TrainerTest, MicroBatchesAddUpToTheBatch) {
  for (const LossAverage average : {LossAverage::kTokens, LossAverage::kSequences}) {
    RunConfig whole = config(MixerKind::kTttLinear, "whole"), parts = config(MixerKind::kTttLinear, "parts");
    whole.train.loss_average = parts.train.loss_average = average;
    parts.train.micro_batch = 1;
    Trainer a(whole, {.quiet = true}), b(parts, {.quiet = true});
    for (int i = 0; i < 3; ++i) {
      const StepResult x = a.step(), y = b.step();
      EXPECT_NEAR(x.loss, y.loss, 1e-5);
      EXPECT_NEAR(x.grad_norm / y.grad_norm, 1.0, 1e-4);
    }
  }
}

TEST_F(TrainerTest, RecomputingChangesNoBit) {
  RunConfig kept = config(MixerKind::kTttMlp, "kept"), recomputed = config(MixerKind::kTttMlp, "recomputed");
  recomputed.train.recompute = true;
  run(kept);
  run(recomputed);
  EXPECT_EQ(read_file(newest(kept) / "model.safetensors"), read_file(newest(recomputed) / "model.safetensors"));
}

TEST_F(TrainerTest, DocumentsAreToldApartByTheirBos) {
  RunConfig c = config();
  c.train.reset_at_documents = true;
  EXPECT_NE(refusal(c).find("declares no BOS id"), std::string::npos) << refusal(c);
  PrepareTokens options;
  options.input = scratch_ / "stream.npy";
  options.vocab_size = 17;
  options.bos_id = 3;
  options.output = scratch_ / "documents";
  prepare_tokens(options);
  c.data.train = c.data.valid = options.output.string();
  RunConfig together = c;
  together.train.reset_at_documents = false;
  together.output_dir += "_together";
  ASSERT_EQ(run(c), ExitCode::kOk);
  ASSERT_EQ(run(together), ExitCode::kOk);
  const auto loss = [](const RunConfig& config, const char* kind) {
    return read_metrics(fs::path(config.output_dir) / "metrics.jsonl", kind).front().at("loss").get<double>();
  };
  EXPECT_NE(loss(c, "train"), loss(together, "train"));
  EXPECT_NE(loss(c, "valid"), loss(together, "valid"));
}

TEST_F(TrainerTest, StartsAgainWhenThereIsNoCheckpoint) {
  RunConfig c = config();
  {
    Trainer killed(c, {.quiet = true});
    killed.step();
    std::ofstream(fs::path(c.output_dir) / "metrics.jsonl") << R"({"kind":"train","step":1,"loss":1})"
                                                            << "\n"
                                                            << R"({"kind":"tr)";
    fs::create_directories(fs::path(c.output_dir) / "checkpoints" / "step_00000003.tmp");
  }
  run(c);
  EXPECT_EQ(read_metrics(fs::path(c.output_dir) / "metrics.jsonl", "train").size(), 12u);
  EXPECT_FALSE(fs::exists(fs::path(c.output_dir) / "checkpoints" / "step_00000003.tmp"));
}

TEST_F(TrainerTest, InitFromTakesTheModelAlone) {
  RunConfig first = config(MixerKind::kTttMlp, "first");
  run(first);
  RunConfig second = config(MixerKind::kTttMlp, "second");
  second.init_from = newest(first).string();
  Trainer tuned(second, {.quiet = true});
  EXPECT_EQ(tuned.state().step, 0);
  RunConfig longer = first;
  longer.train.steps = 13;
  Trainer resumed(longer, {.quiet = true});
  EXPECT_EQ(resumed.state().step, 12);
  const auto a = tuned.model().named_parameters(), b = resumed.model().named_parameters();
  for (const auto& item : a) EXPECT_TRUE(torch::equal(item.value(), b[item.key()])) << item.key();

  RunConfig other = config(MixerKind::kTttMlp, "other");
  other.init_from = first.output_dir;
  other.model.num_heads = 4;
  EXPECT_NE(refusal(other).find("model.num_heads"), std::string::npos) << refusal(other);
}

TEST_F(TrainerTest, TwoTrainingsInOneFolderAreRefused) {
  const RunConfig c = config();
  Trainer first(c, {.quiet = true});
  EXPECT_NE(refusal(c).find("another training is running in"), std::string::npos) << refusal(c);
}

TEST_F(TrainerTest, AChangedConfigIsRefusedOrTaken) {
  RunConfig c = config();
  run(c);
  const std::string before = read_file(fs::path(c.output_dir) / "config.yaml");
  RunConfig changed = c;
  changed.model.intermediate_size = 48;
  changed.train.seed = 9;
  const std::string message = refusal(changed);
  EXPECT_NE(message.find("model.intermediate_size (was 32, now 48)"), std::string::npos) << message;
  EXPECT_NE(message.find("train.seed (was 0, now 9)"), std::string::npos) << message;
  changed = c;
  changed.train.context = 48;
  EXPECT_NE(refusal(changed).find("train.context"), std::string::npos) << refusal(changed);
  EXPECT_EQ(read_file(fs::path(c.output_dir) / "config.yaml"), before);

  changed = c;  // the same tokens elsewhere are the same data; other tokens are not
  changed.data.train = prepare("elsewhere", 17).string();
  changed.optim.lr = 1e-3;
  changed.checkpoint.every = 3;
  changed.train.micro_batch = 2;
  changed.train.batch_tokens = 48;
  EXPECT_EQ(refusal(changed), "");
  const std::string log = read_file(fs::path(c.output_dir) / "train.log");
  EXPECT_NE(log.find("train.batch_tokens was 96, now 48: steps have another size from here on"), std::string::npos);
  EXPECT_NE(log.find("optim.lr was 0.01, now 0.001: holds from the next step on"), std::string::npos);
  std::vector<std::int32_t> other(24 * 20 + 1, 5);
  write_npy(scratch_ / "stream.npy", other);
  changed.data.train = prepare("other", 17).string();
  EXPECT_NE(refusal(changed).find("holds other data"), std::string::npos) << refusal(changed);
}

void flip_a_bit(const fs::path& file) {
  std::string bytes = read_file(file);
  bytes[bytes.size() - 3] = static_cast<char>(bytes[bytes.size() - 3] ^ 4);
  std::ofstream(file, std::ios::binary) << bytes;
}

TEST_F(TrainerTest, FallsBackFromADamagedCheckpoint) {
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

TEST_F(TrainerTest, StopsWhenEveryCheckpointIsDamaged) {
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

TEST_F(TrainerTest, SavingInTheBackgroundChangesNoByte) {
  RunConfig beside = config(MixerKind::kTttMlp, "beside"), waiting = config(MixerKind::kTttMlp, "waiting");
  beside.checkpoint.every = waiting.checkpoint.every = 2;
  beside.checkpoint.keep_last = waiting.checkpoint.keep_last = 0;
  waiting.checkpoint.async = false;
  run(beside);
  run(waiting);
  for (int step = 2; step <= 12; step += 2) {
    for (const std::string& name :
         {std::string("model.safetensors"), optimizer_file_name(0, 1), std::string("state.json")}) {
      const auto bytes = [&](const RunConfig& c) {
        return read_file(checkpoint_path(fs::path(c.output_dir) / "checkpoints", step) / name);
      };
      EXPECT_EQ(bytes(beside), bytes(waiting)) << name << " of step " << step;
    }
  }
}

TEST_F(TrainerTest, AFailedSaveEndsTheRun) {
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

TEST_F(TrainerTest, WhatDoesNotFitIsRefusedBeforeAnythingIsMade) {
  RunConfig c = config();
  c.model.vocab_size = 18;
  EXPECT_NE(refusal(c).find("vocabulary of 17"), std::string::npos) << refusal(c);
  c = config();
  c.train.context = c.train.batch_tokens = 4096;
  EXPECT_NE(refusal(c).find("too few for one sample"), std::string::npos) << refusal(c);
  c = config();
  c.data.valid = prepare("wide", 40).string();
  EXPECT_NE(refusal(c).find("data.valid"), std::string::npos) << refusal(c);
  c = config();
  c.data.train = (scratch_ / "absent").string();
  EXPECT_NE(refusal(c).find("absent"), std::string::npos) << refusal(c);
  EXPECT_FALSE(fs::exists(c.output_dir));
  std::ofstream(scratch_ / "file") << "text";
  c = config(MixerKind::kTttLinear, "file/below");
  EXPECT_NE(refusal(c).find("another output folder"), std::string::npos) << refusal(c);
}

TEST_F(TrainerTest, ADivergedRunStopsWithTheStep) {
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

TEST_F(TrainerTest, ADivergedRunLeavesItsLastGoodStep) {
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
TEST_F(TrainerTest, AStepThatIsNotFiniteIsSkipped) {
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
  for (const char* file : {"model.safetensors", "optimizer-00000-of-00001.safetensors", "state.json"})
    EXPECT_EQ(read_file(newest(c) / file), read_file(newest(d) / file)) << file;
}

TEST_F(TrainerTest, WhereSkippingDoesNotHelpTheRunGoesBackAndLeavesTheSamplesOut) {
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
  for (const char* file : {"model.safetensors", "optimizer-00000-of-00001.safetensors", "state.json"})
    EXPECT_EQ(read_file(newest(c) / file), read_file(newest(d) / file)) << file;
}

TEST_F(TrainerTest, ARunThatKeepsFailingStopsInTheEnd) {
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
TEST_F(TrainerTest, ALossSpikeRollsBack) {
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

TEST_F(TrainerTest, AProfileIsAChromeTraceOfTheSteps) {
  RunConfig c = config();
  c.profile.first_step = 3;
  c.profile.steps = 2;
  ASSERT_EQ(run(c), ExitCode::kOk);
  const Json trace = Json::parse(read_file(fs::path(c.output_dir) / "trace-step00000003-rank0.json"));
  std::map<std::string, int> count;
  for (const Json& event : trace.at("traceEvents")) ++count[event.value("name", "")];
  EXPECT_EQ(count["optimizer"], 2);
  EXPECT_GT(count["aten::mm"], 0);
  EXPECT_GT(count["autograd::engine::evaluate_function: MmBackward0"] + count["MmBackward0"], 0);
}

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

TEST(ProgressText, LeavesOutWhatHasNoRoom) {
  const ProgressNumbers numbers{150, 600, 4.12345, 12345, 65};
  EXPECT_EQ(progress_line(numbers), "step 150/600  loss 4.1235  ETA 1:05  12.3k tokens/s");
  EXPECT_EQ(progress_line(numbers, 79),
            "step 150/600  loss 4.1235  ETA 1:05  12.3k tokens/s  [######..................]");
  EXPECT_EQ(progress_line(numbers, 40), "step 150/600  loss 4.1235  ETA 1:05");
  EXPECT_EQ(progress_line(numbers, 30), "step 150/600  loss 4.1235");
  EXPECT_EQ(progress_line(numbers, 5), "step 150/600");
  for (std::size_t columns = 12; columns < 200; ++columns) EXPECT_LE(progress_line(numbers, columns).size(), columns);
}

TEST(ProgressText, IsShort) {
  EXPECT_EQ(format_duration(65), "1:05");
  EXPECT_EQ(format_duration(3725.4), "1:02:05");
  EXPECT_EQ(format_count(12345), "12.3k");
  EXPECT_EQ(format_count(125e6), "125M");
  EXPECT_EQ(format_count(12), "12");
}

}  // namespace
}  // namespace ttt
