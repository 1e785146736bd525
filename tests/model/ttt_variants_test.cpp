// TTT layers with the switches of the paper's table 1: what they are as a whole, against formulas written out here; and
// that config.json, the files of the official code and other mixers say what they have no word for.
//
// Shapes: B batch, T time, D width, H heads, K head size.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "base/error.h"
#include "convert/jax.h"
#include "model/language_model.h"
#include "model/layout.h"
#include "model/ttt_variants.h"
#include "nn/mixer/ttt.h"
#include "support/small_model.h"

namespace ttt {
namespace {

ModelConfig variant_config(MixerKind mixer, const testing::TttVariant& variant) {
  ModelConfig config = small_model(mixer, Backbone::kTransformer);
  config.pre_conv = false;
  config.ttt_base_lr = config.ttt_base_lr_init = 0.1;
  variant.turn(config);
  return config;
}

std::string refusal_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no UserError";
}

// Linear attention as a layer: Q, K, V, the causal sum, the sum of weights, LayerNorm, Wo; from the layer's parameters.
torch::Tensor attention_layer(TttMixer& layer, const torch::Tensor& x_BTD, std::int64_t H, bool normalised) {
  const auto parameters = layer.named_parameters();
  const auto project = [&](const char* name) {
    return torch::matmul(x_BTD, parameters[name].t()).unflatten(2, {H, -1}).transpose(1, 2);  // [B,H,T,K]
  };
  // RoPE of pairs (2i, 2i+1) at absolute positions.
  const auto rotated = [](const torch::Tensor& x) {
    const std::int64_t T = x.size(2), K = x.size(3);
    const torch::Tensor place = torch::arange(T, torch::kDouble).unsqueeze(1);
    const torch::Tensor angle = place * torch::pow(10000.0, -torch::arange(0, K, 2, torch::kDouble) / K);
    const torch::Tensor a = x.slice(3, 0, K, 2), b = x.slice(3, 1, K, 2);
    return torch::stack({a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()}, -1).flatten(3);
  };
  torch::Tensor q = rotated(project("q_proj.weight")), k = rotated(project("k_proj.weight"));
  const torch::Tensor v = project("v_proj.weight");
  if (normalised) q = torch::where(q > 0, q + 1, q.exp()), k = torch::where(k > 0, k + 1, k.exp());
  const torch::Tensor weights = torch::matmul(q, k.transpose(2, 3)).tril();
  torch::Tensor o = torch::matmul(weights, v);
  if (normalised) o = o / (weights.sum(-1, true) + 1e-6);
  const torch::Tensor merged = o.transpose(1, 2).flatten(2), centred = merged - merged.mean(-1, true);
  const torch::Tensor normed = centred / (centred.square().mean(-1, true) + 1e-6).sqrt();
  return torch::matmul(normed * parameters["post_norm.weight"] + parameters["post_norm.bias"],
                       parameters["o_proj.weight"].t());
}

// The first three rows of table 1: linear attention (Katharopoulos et al.), improved, and the second as TTT.
TEST(TttVariants, TheFirstRowsOfTable1AreLinearAttention) {
  constexpr std::int64_t kTime = 19;
  for (const bool normalised : {true, false}) {
    ModelConfig config = variant_config(
        MixerKind::kTttLinear,
        {"", true, normalised ? testing::turn_to_normalised_linear_attention : testing::turn_to_linear_attention});
    config.mini_batch_size = kTime;
    torch::manual_seed(3);
    TttMixer layer(config, ttt_linear_net());
    layer.to(torch::kDouble);
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& parameter : layer.parameters()) parameter.copy_(0.3 * torch::randn_like(parameter));
    const torch::Tensor x = torch::randn({2, kTime, config.hidden_size}, torch::kDouble);
    const torch::Tensor expected = attention_layer(layer, x, config.num_heads, normalised);
    EXPECT_LT((layer.forward(x, {}, nullptr) - expected).abs().max().item<double>(), 1e-11) << normalised;
    ASSERT_EQ(layer.parameters().size(), 6u);  // Wq, Wk, Wv, Wo, the norm's two
  }
}

// f starts at what its switches leave of it: x + LN(x W0 + b0), where the inner loop is held still.
TEST(TttVariants, FIsReadAsItsSwitchesSay) {
  testing::for_ttt_variants([](MixerKind mixer, const testing::TttVariant& variant) {
    const ModelConfig config = variant_config(mixer, variant);
    if (config.mixer.is_only(MixerKind::kTttMlp) || config.ttt_normalizer) return;
    const std::int64_t H = config.num_heads;
    torch::manual_seed(3);
    TttMixer layer(config, ttt_linear_net());
    layer.to(torch::kDouble);
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& parameter : layer.parameters()) parameter.copy_(0.3 * torch::randn_like(parameter));
    layer.set_inner_loop({.lr_scale = 0});
    const auto parameters = layer.named_parameters();
    const torch::Tensor x = torch::randn({2, 1, config.hidden_size}, torch::kDouble);  // one token: at place 0
    torch::Tensor q = torch::matmul(x, parameters["q_proj.weight"].t()).unflatten(2, {H, -1}).transpose(1, 2);
    if (config.ttt_feature_map == TttFeatureMap::kElu) q = torch::where(q > 0, q + 1, q.exp());
    torch::Tensor z = torch::zeros_like(q);
    if (config.ttt_learned_w0) z = torch::matmul(q, parameters["w1"]);
    if (config.ttt_learned_w0 && config.ttt_bias) z = z + parameters["b1"];
    if (config.ttt_norm) {
      const torch::Tensor centred = z - z.mean(-1, true);
      z = centred / (centred.square().mean(-1, true) + 1e-6).sqrt();
      z = z * parameters["ttt_norm_weight"].unsqueeze(1) + parameters["ttt_norm_bias"].unsqueeze(1);
    }
    if (config.ttt_residual) z = q + z;
    const torch::Tensor merged = z.transpose(1, 2).flatten(2), centred = merged - merged.mean(-1, true);
    const torch::Tensor normed = centred / (centred.square().mean(-1, true) + 1e-6).sqrt();
    const torch::Tensor expected = torch::matmul(normed * parameters["post_norm.weight"] + parameters["post_norm.bias"],
                                                 parameters["o_proj.weight"].t());
    EXPECT_LT((layer.forward(x, {}, nullptr) - expected).abs().max().item<double>(), 1e-11);
  });
}

// Every gradient of a model of each variant by central differences along a random direction of each parameter.
TEST(TttVariants, GradientsMatchFiniteDifferences) {
  at::set_num_threads(1);
  const torch::Tensor tokens = torch::randint(31, {1, 20}, torch::kLong), targets = tokens.roll(-1, 1).contiguous();
  testing::for_ttt_variants([&](MixerKind mixer, const testing::TttVariant& variant) {
    ModelConfig config = variant_config(mixer, variant);
    config.num_layers = 1;
    torch::manual_seed(11);
    LanguageModel model(config, 3);
    model.to(torch::kDouble);
    {
      const torch::NoGradGuard no_grad;
      for (torch::Tensor& parameter : model.parameters()) parameter.add_(0.15 * torch::randn_like(parameter));
    }
    const auto loss = [&] { return model.token_loss(tokens, targets, {}).sum(); };
    loss().backward();
    const torch::NoGradGuard no_grad;
    for (auto& item : model.named_parameters()) {
      torch::Tensor parameter = item.value();
      const torch::Tensor direction = torch::randn_like(parameter);
      constexpr double h = 1e-5;
      const auto at = [&](double step) {
        parameter.add_(direction, step);
        const double value = loss().item<double>();
        parameter.sub_(direction, step);
        return value;
      };
      const double numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h),
                   analytic = (parameter.grad() * direction).sum().item<double>();
      EXPECT_NEAR(analytic, numeric, 1e-6 * std::max(1.0, std::abs(numeric))) << item.key();
      EXPECT_GT(parameter.grad().abs().max().item<double>(), 0) << item.key();
    }
  });
}

TEST(TttVariants, ConfigJsonSaysThemAndIsReadBack) {
  testing::for_ttt_variants([](MixerKind mixer, const testing::TttVariant& variant) {
    const ModelConfig config = variant_config(mixer, variant);
    EXPECT_NE(ttt_switches(config), "");
    const Json json = hugging_face_config(config);
    EXPECT_EQ(json["model_type"], "ttt_cpp");
    EXPECT_EQ(model_config_from_hugging_face(Json::parse(json.dump()), "config.json"), config) << json.dump(2);
    const LanguageModel model(config, 1);
    LanguageModel other(config, 2);
    import_parameters(other, export_parameters(model), "f");
    const auto theirs = other.named_parameters();
    for (const auto& parameter : model.named_parameters())
      EXPECT_TRUE(torch::equal(parameter.value(), theirs[parameter.key()])) << parameter.key();
  });
  const ModelConfig published;
  const Json json = hugging_face_config(published);
  EXPECT_EQ(json["model_type"], "ttt");
  for (const char* key : {"ttt_norm", "ttt_feature_map", "ttt_inner_steps"}) EXPECT_FALSE(json.contains(key)) << key;
  Json wrong = hugging_face_config(variant_config(MixerKind::kTttLinear, testing::ttt_variants().front()));
  wrong["ttt_target"] = "key";
  EXPECT_NE(refusal_of([&] { model_config_from_hugging_face(wrong, "dir/config.json"); }).find("ttt_target"),
            std::string::npos);
}

TEST(TttVariants, TheOfficialCodeHasNoneOfThem) {
  ModelConfig config = variant_config(MixerKind::kTttLinear, {"", true, [](ModelConfig& m) {
                                                                m.ttt_norm = false;
                                                                m.ttt_inner_steps = 2;
                                                              }});
  EXPECT_EQ(
      refusal_of([&] { jax_names(config); }),
      "the official JAX code has no ttt_linear with model.ttt_norm false, model.ttt_inner_steps 2; leave that out "
      "of the config to convert a model of its own");
  testing::for_ttt_variants([](MixerKind mixer, const testing::TttVariant& variant) {
    EXPECT_NE(refusal_of([&] { jax_names(variant_config(mixer, variant)); }).find("the official JAX code has no"),
              std::string::npos);
  });
}

}  // namespace
}  // namespace ttt
