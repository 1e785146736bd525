// 24 training steps of the official JAX code, repeated by the commands a user would type: `ttt prepare --tokens`, `ttt
// convert`, `ttt train` with parity: ttt-lm-jax. A right implementation agrees to 2e-6 (relative); the limit is ten
// times that.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "config/load.h"
#include "convert/jax.h"
#include "model/layout.h"
#include "support/golden.h"
#include "train/scratch.h"

namespace ttt {
namespace {

constexpr double kTolerance = 2e-5;

class GoldenTraining : public ScratchTest, public ::testing::WithParamInterface<std::string> {
 protected:
  void write(const std::string& name, const std::string& text) const { std::ofstream(scratch_ / name) << text; }

  // Runs `ttt ARGUMENTS` in the scratch folder.
  void ttt(const std::string& arguments) const {
    const std::string command = "cd '" + scratch_.string() + "' && '" TTT_BINARY "' " + arguments + " >out.txt 2>&1";
    const int status = std::system(command.c_str());
    ASSERT_EQ(status, 0) << "ttt " << arguments << "\n" << read_file(scratch_ / "out.txt");
  }
};

std::string model_yaml(const Json& json) {
  std::ostringstream yaml;
  const std::string block = json["block"];
  const bool tied = json.value("tied", true);
  yaml << "model:\n  mixer: " << (block == "self_attention" ? "attention" : block) << "\n"
       << "  backbone: " << (block == "self_attention" ? "transformer" : "mamba") << "\n"
       << "  vocab_size: " << json["vocab"] << "\n  hidden_size: " << json["width"]
       << "\n  num_layers: " << json["layers"] << "\n  num_heads: " << json["heads"]
       << "\n  intermediate_size: " << json["ffn"] << "\n  pre_conv: " << json["pre_conv"]
       << "\n  tie_embeddings: " << (tied ? "true" : "false") << "\n";
  if (json.contains("ttt_base_lr")) {
    yaml << "  ttt_base_lr: " << json["ttt_base_lr"] << "\n  ttt_base_lr_init: " << json["ttt_base_lr_init"]
         << "\n  ttt_base_lr_warmup_steps: " << json["ttt_base_lr_warmup"] << "\n";
  }
  return yaml.str();
}

std::string run_yaml(const Json& json) {
  std::ostringstream yaml;
  const Json& optim = json["optim"];
  yaml << "extends: model.yaml\nparity: ttt-lm-jax\noutput_dir: run\ninit_from: start\n"
       << "data: {train: data, order: sequential}\n"
       << "train: {context: " << json["T"] << ", batch_tokens: " << json["T"].get<int>() * json["B"].get<int>()
       << ", steps: " << json["steps"] << ", device: cpu, dtype: fp32, threads: 1}\n"
       << "optim: {lr: " << optim["lr"] << ", end_lr: " << optim["end_lr"] << ", warmup_steps: " << optim["warmup"]
       << ", decay_steps: " << optim["decay"] << ", clip_grad_norm: " << optim["clip"] << "}\n";
  return yaml.str();
}

double relative(double actual, double expected) {
  return std::abs(actual - expected) / std::abs(expected);
}

TEST_P(GoldenTraining, LossGradientNormAndLearningRateOfEveryStep) {
  const SafetensorsFile golden = load_golden(GetParam());
  const Json json = Json::parse(golden.metadata.at("case"));
  const torch::Tensor stream = golden.at("train/stream").to(torch::kInt).contiguous();
  write_npy(scratch_ / "stream.npy",
            {stream.data_ptr<std::int32_t>(), stream.data_ptr<std::int32_t>() + stream.numel()});
  write_safetensors(scratch_ / "start.safetensors", golden_tensors(golden, "param/"));
  write("model.yaml", model_yaml(json));
  write("run.yaml", run_yaml(json));
  ASSERT_NO_FATAL_FAILURE(ttt("prepare --tokens stream.npy --vocab-size " + json["vocab"].dump() + " --output data"));
  ASSERT_NO_FATAL_FAILURE(
      ttt("convert --from ttt-lm-jax --input start.safetensors --config model.yaml --output start"));
  ASSERT_NO_FATAL_FAILURE(ttt("train run.yaml"));

  const auto lines = read_metrics(scratch_ / "run" / "metrics.jsonl", "train");
  const std::int64_t steps = json["steps"];
  ASSERT_EQ(static_cast<std::int64_t>(lines.size()), steps);
  const auto value = [&](const char* name, std::int64_t i) { return golden.at(name)[i].item<double>(); };
  double worst_loss = 0, worst_norm = 0;
  for (std::int64_t i = 0; i < steps; ++i) {
    const Json& line = lines[static_cast<std::size_t>(i)];
    const double loss = relative(line.at("loss"), value("train/loss", i));
    const double norm = relative(line.at("grad_norm"), value("train/grad_norm", i));
    EXPECT_LT(loss, kTolerance) << "loss at step " << i + 1;
    EXPECT_LT(norm, kTolerance) << "gradient norm at step " << i + 1;
    EXPECT_NEAR(line.at("lr").get<double>(), value("train/lr", i), 1e-9) << "learning rate at step " << i + 1;
    worst_loss = std::max(worst_loss, loss);
    worst_norm = std::max(worst_norm, norm);
  }

  // The parameters after the last step, of those that the official code's run kept.
  const RunConfig config = load_run_config(scratch_ / "run" / "config.yaml");
  LanguageModel model(config.model, 0);
  import_parameters(
      model, read_checkpoint(checkpoint_path(scratch_ / "run" / "checkpoints", steps), CheckpointParts::kModel).model,
      "checkpoint");
  const auto parameters = model.named_parameters();
  double worst_parameter = 0;
  std::size_t compared = 0;
  for (const JaxName& name : jax_names(config.model)) {
    if (!golden.has("final/" + name.jax)) continue;
    const torch::Tensor actual = from_jax_layout(parameters[name.parameter], name.layout);  // an involution
    EXPECT_TRUE(compare(golden, "final/" + name.jax, actual, 10 * kTolerance, &worst_parameter));
    ++compared;
  }
  EXPECT_EQ(compared, golden_tensors(golden, "final/").size());
  std::printf("%s: loss %.1e, gradient norm %.1e, final parameters %.1e\n", GetParam().c_str(), worst_loss, worst_norm,
              worst_parameter);
}

INSTANTIATE_TEST_SUITE_P(Runs, GoldenTraining,
                         ::testing::Values("train_ttt_linear", "train_ttt_mlp", "train_attention"),
                         [](const auto& run) { return run.param; });

}  // namespace
}  // namespace ttt
