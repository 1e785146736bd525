// What `ttt plan` counts from a config against the model that the config builds.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>

#include "base/error.h"
#include "base/files.h"
#include "config/load.h"
#include "model/language_model.h"
#include "model/ttt_variants.h"
#include "plan/parameters.h"
#include "support/small_model.h"

namespace ttt {
namespace {

std::int64_t built_parameters(const ModelConfig& config) {
  const LanguageModel model(config);  // memory that is never touched: 1.3B parameters cost nothing
  std::int64_t built = 0;
  for (const auto& parameter : model.parameters()) built += parameter.numel();
  return built;
}

TEST(Plan, ParametersOfEveryPresetEqualTheBuiltModels) {
  int checked = 0;
  for (const fs::path& file : list_files(fs::path(TTT_SOURCE_DIR) / "configs" / "model")) {
    const ModelConfig config = load_model_config(file);
    EXPECT_EQ(count_parameters(config).total, built_parameters(config)) << file;
    ++checked;
  }
  EXPECT_GE(checked, 35);
}

ModelConfig small(MixerPattern mixer, Backbone backbone) {
  ModelConfig config = small_model(std::move(mixer), backbone);
  config.vocab_size = 50;
  config.num_layers = 5;
  config.intermediate_size = 10;
  config.mini_batch_size = 4;
  return config;
}

const std::vector<MixerPattern> kMixers = {
    MixerKind::kAttention,     MixerKind::kTttLinear,
    MixerKind::kTttMlp,        MixerKind::kMamba,
    MixerKind::kGatedDeltaNet, MixerPattern({MixerKind::kTttLinear, MixerKind::kAttention, MixerKind::kMamba})};

TEST(Plan, ParametersOfEverySwitch) {
  for (const MixerPattern& mixer : kMixers) {
    for (const Backbone backbone : {Backbone::kTransformer, Backbone::kMamba}) {
      for (const bool pre_conv : {false, true}) {
        for (const bool tied : {false, true}) {
          ModelConfig config = small(mixer, backbone);
          config.pre_conv = pre_conv;
          config.tie_embeddings = tied;
          const ParameterCount count = count_parameters(config);
          EXPECT_EQ(count.total, built_parameters(config)) << to_string(mixer) << " " << to_string(backbone);
          EXPECT_EQ(count.embedding, 50 * 24 * (tied ? 1 : 2));
        }
      }
    }
  }
}

// TTT and Mamba: exactly. Attention's buffers grow by doubling: at most twice the plan's bytes.
TEST(Plan, DecodingStateEqualsTheModels) {
  const torch::NoGradGuard no_grad;
  for (const MixerPattern& mixer : kMixers) {
    for (const Backbone backbone : {Backbone::kTransformer, Backbone::kMamba}) {
      const ModelConfig config = small(mixer, backbone);
      LanguageModel model(config, 1);
      ModelState state = model.initial_state(1);
      model.advance(torch::ones({1, 11}, torch::kLong), state);
      if (mixer.contains(MixerKind::kAttention)) {
        EXPECT_GE(state.bytes(), decoding_state_bytes(config, 11)) << to_string(mixer);
        EXPECT_LE(state.bytes(), 2 * decoding_state_bytes(config, 11)) << to_string(mixer);
      } else {
        EXPECT_EQ(state.bytes(), decoding_state_bytes(config, 11)) << to_string(mixer) << " " << to_string(backbone);
      }
    }
  }
}

// What a switch of TTT layers takes away is not counted, and what it adds is.
TEST(Plan, VariantsOfTttLayers) {
  const torch::NoGradGuard no_grad;
  testing::for_ttt_variants([](MixerKind mixer, const testing::TttVariant& variant) {
    for (const Backbone backbone : {Backbone::kTransformer, Backbone::kMamba}) {
      ModelConfig config = small(mixer, backbone);
      variant.turn(config);
      EXPECT_EQ(count_parameters(config).total, built_parameters(config)) << to_string(backbone);
      LanguageModel model(config, 1);
      ModelState state = model.initial_state(1);
      model.advance(torch::ones({1, 11}, torch::kLong), state);
      EXPECT_EQ(state.bytes(), decoding_state_bytes(config, 11)) << to_string(backbone);
    }
  });
}

}  // namespace
}  // namespace ttt
