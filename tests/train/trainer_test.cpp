// The training loop on tiny models: it learns, resumes exactly, adds micro-batches up, and refuses what does not fit.
#include "train/trainer.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <map>

#include "support/stored_optimizer.h"
#include "train/tiny_run.h"

namespace ttt {
namespace {

class TrainerTest : public TinyRunTest {};

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
    SCOPED_TRACE(name);
    expect_same_end(straight, resumed);
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
    // Two runs on a machine where both ways are about as fast may each measure another one.
    bf16.train.bf16_products = resumed.train.bf16_products = ProductsKind::kNative;
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

// A run that began with products through fp32 panels keeps them on a machine that would choose others, and the other
// way.
TEST_F(TrainerTest, ResumingKeepsTheBf16ProductsThatTheRunBeganWith) {
  for (const ProductsKind products : {ProductsKind::kNative, ProductsKind::kFp32Panels}) {
    const std::string name = products == ProductsKind::kNative ? "native" : "fp32_panels";
    SCOPED_TRACE(name);
    RunConfig straight = config(MixerKind::kTttLinear, name + "_straight"),
              resumed = config(MixerKind::kTttLinear, name + "_resumed");
    straight.train.dtype = resumed.train.dtype = DType::kBf16;
    straight.train.bf16_products = resumed.train.bf16_products = products;
    run(straight);
    resumed.train.steps = 5;
    run(resumed);
    resumed.train.steps = 12;
    resumed.train.bf16_products = ProductsKind::kAuto;
    run(resumed);
    expect_same_end(straight, resumed);
    EXPECT_EQ(Json::parse(read_file(newest(resumed) / "state.json")).at("bf16_products"), name);
  }
  EXPECT_NE(read_file(newest(config(MixerKind::kTttLinear, "native_straight")) / "model.safetensors"),
            read_file(newest(config(MixerKind::kTttLinear, "fp32_panels_straight")) / "model.safetensors"));
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
  expect_same_end(straight, resumed);
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

// How steps are cut into micro-batches does not choose what is validated on.
TEST_F(TrainerTest, ValidationIsOverTheSameTargets) {
  const auto first_validation = [&](std::int64_t micro_batch, std::int64_t samples) {
    RunConfig c = config(MixerKind::kTttLinear, cat("micro", micro_batch, "_", samples));
    c.data.valid = c.data.train.text();
    c.train.micro_batch = micro_batch;
    c.train.eval_samples = samples;
    c.train.eval_every = 1;
    c.train.steps = 1;
    run(c);
    return read_metrics(fs::path(c.output_dir) / "metrics.jsonl", "valid").front();
  };
  for (const std::int64_t samples : {3, 0}) {
    const Json one = first_validation(1, samples), two = first_validation(2, samples),
               four = first_validation(4, samples);
    EXPECT_EQ(one.at("tokens"), samples > 0 ? 72 : 480);
    EXPECT_EQ(one.at("tokens"), two.at("tokens"));
    EXPECT_EQ(one.at("tokens"), four.at("tokens"));
    EXPECT_NEAR(one.at("loss").get<double>(), two.at("loss").get<double>(), 1e-4);
    EXPECT_NEAR(one.at("loss").get<double>(), four.at("loss").get<double>(), 1e-4);
  }
}

// Every position_loss_every steps, and at the end, validation says the loss by position too; of several sets for each.
TEST_F(TrainerTest, ValidationSaysTheLossByPosition) {
  RunConfig c = config();
  c.data.valid = c.data.train.text();
  c.train.steps = c.optim.decay_steps = 5;
  c.train.eval_every = 3;
  c.train.position_loss_every = 2;
  run(c);
  const fs::path metrics = fs::path(c.output_dir) / "metrics.jsonl";
  const auto valid = read_metrics(metrics, "valid"), by_position = read_metrics(metrics, "position_loss");
  ASSERT_EQ(valid.size(), 4u);  // 2, 3, 4, 5
  ASSERT_EQ(by_position.size(), 3u);
  EXPECT_EQ(by_position[0].at("step"), 2);
  EXPECT_EQ(by_position[1].at("step"), 4);
  EXPECT_EQ(by_position[2].at("step"), 5);
  double nats = 0, tokens = 0;
  std::int64_t next = 1;
  for (const Json& of : by_position[2].at("positions")) {
    EXPECT_EQ(of.at("from"), next);
    next = of.at("to").get<std::int64_t>() + 1;
    EXPECT_LE(of.at("low"), of.at("loss"));
    EXPECT_LE(of.at("loss"), of.at("high"));
    nats += of.at("loss").get<double>() * of.at("tokens").get<double>();
    tokens += of.at("tokens").get<double>();
  }
  EXPECT_EQ(next, 25);
  EXPECT_NEAR(nats / tokens, valid[3].at("loss").get<double>(), 1e-9);
  EXPECT_EQ(tokens, valid[3].at("tokens").get<double>());
  c.output_dir = (scratch_ / "without").string();
  c.data.valid = DataSources();
  EXPECT_NE(refusal(c).find("train.position_loss_every needs data.valid"), std::string::npos) << refusal(c);
}

// Of a set that says what is scored, answers alone are learnt, and validation counts those that are right.
TEST_F(TrainerTest, LearnsTheAnswersOfATask) {
  PrepareTask task{.task = "memorisation", .settings = {"length=24", "vocab_size=16"}, .samples = 100};
  task.output = scratch_ / "task";
  prepare_task(task);
  RunConfig c = config();
  c.model.vocab_size = 16;
  c.data.train = c.data.valid = task.output.string();
  c.train.steps = c.optim.decay_steps = 60;
  c.train.eval_samples = 20;
  run(c);
  const fs::path metrics = fs::path(c.output_dir) / "metrics.jsonl";
  EXPECT_NEAR(read_metrics(metrics, "train").front().at("loss").get<double>(), std::log(16.0), 0.3);
  const Json valid = read_metrics(metrics, "valid").back();
  EXPECT_EQ(valid.at("tokens"), 20 * 12);
  EXPECT_LT(valid.at("loss").get<double>(), 0.8);  // keys are random: where they counted, half of the loss would stay
  EXPECT_GT(valid.at("accuracy").get<double>(), 0.7);
  EXPECT_EQ(valid.at("accuracy"), valid.at("answer_accuracy"));
}

// A checkpoint of a program that counted validation in micro-batches: resuming says what that was.
TEST_F(TrainerTest, ResumingTellsOfTheOldEvalBatches) {
  RunConfig c = config();
  c.data.valid = c.data.train.text();
  c.train.eval_samples = 12;
  run(c);
  const fs::path folder = newest(c);
  Checkpoint checkpoint = read_checkpoint(folder, CheckpointParts::kAll);
  checkpoint.optimizer = whole_tensors(checkpoint.stored_optimizer);
  const std::string key = "eval_samples: 12";
  checkpoint.config_yaml.replace(checkpoint.config_yaml.find(key), key.size(), "eval_batches: 4");
  fs::remove_all(folder);
  write_checkpoint(folder, checkpoint);
  ++c.train.steps;
  run(c);
  const std::string log = read_file(fs::path(c.output_dir) / "train.log");
  EXPECT_NE(log.find("train.eval_samples was 16, now 12: validation losses compare only with those from here on"),
            std::string::npos)
      << log;
  EXPECT_EQ(log.find("micro_batch was"), std::string::npos) << log;
}

// config.json beside the weights says where another program's generation ends.
TEST_F(TrainerTest, CheckpointsTellOtherProgramsOfContextAndIds) {
  RunConfig c = config(MixerKind::kMamba);
  c.data.train = prepare("with_bos", 17, 3).string();
  c.train.steps = 2;
  run(c);
  const Json json = Json::parse(read_file(newest(c) / "config.json"));
  EXPECT_EQ(json.at("max_position_embeddings"), 24);
  EXPECT_EQ(json.at("bos_token_id"), 3);
  EXPECT_TRUE(json.at("eos_token_id").is_null());
  EXPECT_TRUE(json.at("pad_token_id").is_null());
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

}  // namespace
}  // namespace ttt
