// What arch/ declares, against itself: every parameter of every kind of model has one name here and one in each file.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "arch/mixer.h"
#include "arch/model_parameters.h"

namespace ttt {
namespace {

// Models of each mixer alone, and one of all.
std::vector<ModelConfig> models() {
  std::vector<ModelConfig> models;
  std::vector<MixerKind> kinds;
  for (const MixerDeclaration* mixer : all_mixers()) kinds.push_back(mixer->kind());
  for (const Backbone backbone : {Backbone::kTransformer, Backbone::kMamba}) {
    for (const bool pre_conv : {false, true}) {
      ModelConfig config;
      config.backbone = backbone;
      config.pre_conv = pre_conv;
      config.tie_embeddings = pre_conv;
      config.num_layers = static_cast<std::int64_t>(kinds.size());
      for (const MixerKind kind : kinds) {
        config.mixer = kind;
        models.push_back(config);
      }
      config.mixer = MixerPattern(kinds);
      models.push_back(config);
    }
  }
  return models;
}

TEST(Declarations, NamesAreUnique) {
  for (const ModelConfig& config : models()) {
    const MixerDeclaration* only = only_mixer(config);
    std::set<std::string> names, file_names, jax_names;
    for (const Parameter& parameter : model_parameters(config)) {
      EXPECT_TRUE(names.insert(parameter.name).second) << parameter.name;
      EXPECT_TRUE(file_names.insert(parameter.file_name).second) << parameter.file_name;
      EXPECT_GT(parameter.numel(), 0) << parameter.name;
      if (only == nullptr || !only->is_in_jax()) continue;
      EXPECT_TRUE(jax_names.insert(parameter.jax_name).second && !parameter.jax_name.empty()) << parameter.name;
    }
  }
}

TEST(Declarations, MixersAreFoundByKindAndName) {
  std::set<std::string> names;
  for (const MixerDeclaration* mixer : all_mixers()) {
    EXPECT_EQ(&declaration_of(mixer->kind()), mixer);
    EXPECT_EQ(to_string(mixer->kind()), std::string(mixer->name()));
    EXPECT_TRUE(names.insert(mixer->name()).second);
    for (const char* key : mixer->keys()) {
      ModelConfig config;
      config.mixer = mixer->kind();
      EXPECT_TRUE(uses_key(config, key)) << mixer->name() << " " << key;
    }
  }
  EXPECT_EQ(mixer_names(", ").substr(0, 21), "attention, ttt_linear");
}

// What is decayed, and how it begins, in the words of the paper's code: vectors are not, and begin as constants.
TEST(Declarations, VectorsAreNotDecayed) {
  for (const ModelConfig& config : models()) {
    for (const Parameter& parameter : model_parameters(config)) {
      const auto large = std::count_if(parameter.shape.begin(), parameter.shape.end(), [](auto n) { return n > 1; });
      if (large <= 1 && parameter.role != Role::kDense) {
        EXPECT_NE(parameter.decay, Decay::kMatrix) << parameter.name;
      }
      if (parameter.role == Role::kDense || parameter.role == Role::kEmbedding) {
        EXPECT_EQ(parameter.decay, Decay::kMatrix) << parameter.name;
      }
      if (parameter.decay == Decay::kMatrix) {
        EXPECT_GT(parameter.init.scale, 0) << parameter.name;
      }
    }
  }
}

TEST(Declarations, KeysThatNoMixerNamesAreOfAllModels) {
  for (const ModelConfig& config : models()) {
    for (const char* key : {"model.vocab_size", "model.hidden_size", "model.num_layers", "model.pre_conv"})
      EXPECT_TRUE(uses_key(config, key)) << key;
  }
  ModelConfig mamba;
  mamba.mixer = MixerKind::kMamba;
  for (const char* key : {"model.num_heads", "model.intermediate_size", "model.rope_theta", "model.mini_batch_size",
                          "model.backbone", "model.attention_window", "model.ttt_base_lr"})
    EXPECT_FALSE(uses_key(mamba, key)) << key;
}

}  // namespace
}  // namespace ttt
