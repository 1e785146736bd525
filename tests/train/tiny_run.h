// What tests of whole trainings share: a tiny config, its data, and what a run leaves behind.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "data/prepare.h"
#include "train/scratch.h"
#include "train/trainer.h"

namespace ttt {

class TinyRunTest : public ScratchTest {
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

  // The folder `name`, made of what stream.npy holds now.
  fs::path prepare(const std::string& name, std::int64_t vocab_size, std::optional<std::int32_t> bos_id = {}) {
    PrepareTokens options;
    options.bos_id = bos_id;
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

  // Both runs' newest checkpoints are the same bytes.
  void expect_same_end(const RunConfig& a, const RunConfig& b) const {
    for (const char* file : {"model.safetensors", "optimizer-00000-of-00001.safetensors", "state.json"})
      EXPECT_EQ(read_file(newest(a) / file), read_file(newest(b) / file)) << file;
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

}  // namespace ttt
