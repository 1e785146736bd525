// What arch/ declares, against itself: every parameter of every kind of model has one name here and one in each file.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "arch/mixer.h"
#include "arch/model_parameters.h"
#include "support/user_error.h"

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

// TTT-Linear with f(x) = x W on mapped queries and keys, as the normaliser wants it.
ModelConfig linear_f() {
  ModelConfig config;
  config.hidden_size = 8, config.num_heads = 2, config.num_layers = 4, config.mini_batch_size = 4;  // K 4
  config.ttt_feature_map = TttFeatureMap::kElu;
  config.ttt_norm = config.ttt_residual = config.ttt_bias = false;
  return config;
}

TEST(Declarations, TheNormaliserWantsALinearF) {
  const auto refusal = [](void (*turn)(ModelConfig&)) {
    ModelConfig config = linear_f();
    config.ttt_normalizer = true;
    turn(config);
    return user_error_of("/nowhere", [&] { validate(config); });
  };
  EXPECT_EQ(refusal([](ModelConfig&) {}), "(no error)");
  EXPECT_NE(refusal([](ModelConfig& m) { m.ttt_norm = true; }).find("give model.ttt_feature_map: elu"),
            std::string::npos);
  EXPECT_EQ(refusal([](ModelConfig& m) { m.ttt_bias = true; }),
            "model.ttt_normalizer divides what a linear f gives by a sum over positive keys, and with model.ttt_bias a "
            "part of f depends on no key; give model.ttt_bias: false with it");
  const char* const of_mlp =
      "model.ttt_normalizer divides what a linear f gives by a sum over positive keys, and ttt_mlp's f is an MLP; "
      "leave the key out, or take model.mixer ttt_linear";
  EXPECT_EQ(refusal([](ModelConfig& m) { m.mixer = MixerKind::kTttMlp; }), of_mlp);
  EXPECT_EQ(refusal([](ModelConfig& m) {
              m.mixer = MixerPattern({MixerKind::kTttLinear, MixerKind::kTttMlp});
              m.ttt_base_lr = m.ttt_base_lr_init = 0.1;
            }),
            of_mlp);
}

// What a switch of TTT layers adds to the numbers that a layer keeps of a token, by hand: width 8, 2 heads of 4.
TEST(Declarations, TttVariantsKeepMore) {
  ModelConfig config = linear_f();
  const auto wide = [&] { return declaration_of(config.mixer.of_layer(0)).kept(config).wide; };
  const double mapped = wide();
  config.ttt_normalizer = true;
  EXPECT_DOUBLE_EQ(wide() - mapped, 2 * 8);
  config.ttt_normalizer = false;
  config.ttt_feature_map = TttFeatureMap::kNone;
  EXPECT_DOUBLE_EQ(mapped - wide(), 2 * 8);
  // Two steps, of one layer at a time: G and e (.) X, by step; 1 + 2 * 3 matrices of 4 x 4 a head and mini-batch; W and b.
  config.ttt_inner_steps = 2;
  const auto transient = [&] { return declaration_of(config.mixer.of_layer(0)).kept(config).transient; };
  EXPECT_DOUBLE_EQ(wide(), 5 * 8);
  EXPECT_DOUBLE_EQ(transient(), 2 * 2 * 8 + 2 * 4 * 7 + 2 * 5 * 4 / 4.0);
  config.ttt_norm = true;
  EXPECT_DOUBLE_EQ(transient(), 2 * 7 * 8 + 2 * 8 + 2 * 4 * 7 + 2 * 5 * 4 / 4.0);
  // TTT-MLP adds its hidden layer's five of 32, the queries' two, a second layer's matrices and those of G W2^T.
  config.mixer = MixerKind::kTttMlp;
  const double weights = 2 * (4 * 16 + 16 + 16 * 4 + 4);
  EXPECT_DOUBLE_EQ(transient(), 2 * (7 * 8 + 5 * 32) + 2 * 8 + 2 * 32 + 2 * 4 * (1 + 2 * 2 * 3 + 2 * 1) + weights / 4);
}

}  // namespace
}  // namespace ttt
