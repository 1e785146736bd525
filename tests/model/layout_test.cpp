// Names, layouts, counts and initialisation of the model's parameters.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "convert/jax.h"
#include "model/device.h"
#include "model/init.h"
#include "model/layout.h"
#include "support/small_model.h"

namespace ttt {
namespace {

using Tensors = std::vector<std::pair<std::string, torch::Tensor>>;

ModelConfig small(const MixerPattern& mixer, Backbone backbone, bool pre_conv, bool tied) {
  ModelConfig config = small_model(mixer, backbone);
  config.pre_conv = pre_conv;
  config.tie_embeddings = tied;
  return config;
}

std::vector<ModelConfig> all_configs() {
  std::vector<ModelConfig> list;
  for (const MixerKind mixer : {MixerKind::kAttention, MixerKind::kTttLinear, MixerKind::kTttMlp})
    for (const Backbone backbone : {Backbone::kTransformer, Backbone::kMamba})
      for (const bool pre_conv : {false, true})
        for (const bool tied : {false, true}) list.push_back(small(mixer, backbone, pre_conv, tied));
  for (const MixerPattern& mixer :
       {MixerPattern(MixerKind::kGatedDeltaNet), MixerPattern({MixerKind::kGatedDeltaNet, MixerKind::kAttention})}) {
    for (const bool tied : {false, true}) {
      list.push_back(small(mixer, Backbone::kTransformer, /*pre_conv=*/tied, tied));
      list.back().head_dim = 10;  // other than the width's share
      list.back().expand_v = 1.5;
    }
  }
  const MixerPattern hybrid({MixerKind::kTttLinear, MixerKind::kAttention, MixerKind::kMamba});
  for (const bool pre_conv : {false, true}) {
    for (const bool tied : {false, true}) {
      for (const MixerPattern& mixer : {MixerPattern(MixerKind::kMamba), hybrid}) {
        list.push_back(small(mixer, Backbone::kMamba, pre_conv, tied));
        list.back().num_layers = 4;
      }
      list.push_back(small(MixerKind::kAttention, Backbone::kTransformer, pre_conv, tied));
      list.back().attention_window = 12;
    }
  }
  return list;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no UserError";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Parameters, EveryOneHasAPlaceInBothFileLayouts) {
  for (const ModelConfig& config : all_configs()) {
    const LanguageModel model(config, 0);
    std::set<std::string> parameters, in_checkpoint, in_jax, file_names;
    for (const auto& parameter : model.named_parameters()) parameters.insert(parameter.key());
    for (const LayoutEntry& entry : checkpoint_layout(config)) {
      in_checkpoint.insert(entry.parameter);
      EXPECT_TRUE(file_names.insert(entry.file_name).second) << entry.file_name;
    }
    EXPECT_EQ(in_checkpoint, parameters);
    if (config.mixer.contains(MixerKind::kMamba) || config.mixer.contains(MixerKind::kGatedDeltaNet)) {
      EXPECT_TRUE(contains(message_of([&] { jax_names(config); }), "the official JAX code has no model with"));
      continue;
    }
    for (const JaxName& name : jax_names(config)) in_jax.insert(name.parameter);
    EXPECT_EQ(in_jax, parameters);
  }
}

// A module's parameters against their declarations, when a model is built.
TEST(Parameters, AreTheDeclaredOnes) {
  const ModelConfig config = small(MixerKind::kMamba, Backbone::kTransformer, false, true);
  const LanguageModel model(config, 0);
  const auto registered = model.named_parameters().pairs();
  EXPECT_EQ(check_declared(config, registered).size(), registered.size());
  const auto message = [&](const Tensors& parameters) {
    try {
      check_declared(config, parameters);
    } catch (const std::exception& error) {
      return std::string(error.what());
    }
    return std::string("nothing");
  };
  Tensors more = registered;
  more.emplace_back("layers.1.mixer.momentum", torch::ones({3}));
  EXPECT_TRUE(contains(message(more), "registers the parameter 'layers.1.mixer.momentum', which nobody declared"));
  Tensors fewer = registered;
  std::erase_if(fewer, [](const auto& parameter) { return parameter.first == "layers.1.mixer.A_log"; });
  EXPECT_TRUE(contains(message(fewer), "'layers.1.mixer.A_log' is declared, but no module registers it"));
  Tensors wrong = registered;
  for (auto& [name, tensor] : wrong)
    if (name == "layers.0.mixer.D") tensor = torch::ones({5});
  EXPECT_TRUE(contains(message(wrong), "'layers.0.mixer.D' is declared as"));
}

TEST(Parameters, ExportThenImportGivesTheSameModel) {
  for (const ModelConfig& config : all_configs()) {
    const LanguageModel model(config, 1);
    LanguageModel other(config, 2);
    const Tensors file = export_parameters(model);
    import_parameters(other, file, "file");
    const auto expected = model.named_parameters(), actual = other.named_parameters();
    for (const auto& parameter : expected) {
      EXPECT_TRUE(torch::equal(parameter.value(), actual[parameter.key()])) << parameter.key();
      for (const auto& entry : file) EXPECT_FALSE(entry.second.is_alias_of(parameter.value())) << entry.first;
    }
  }
}

TEST(Parameters, LlamaPermutationPairsHalves) {
  // Row r of the file, r < K/2, is our row 2r of the head; r + K/2 is our row 2r + 1.
  const ModelConfig config = small(MixerKind::kAttention, Backbone::kTransformer, false, true);
  const LanguageModel model(config, 1);
  const torch::Tensor ours = model.named_parameters()["layers.1.mixer.q_proj.weight"];
  torch::Tensor file;
  for (const auto& [name, tensor] : export_parameters(model))
    if (name == "model.layers.1.self_attn.q_proj.weight") file = tensor;
  ASSERT_TRUE(file.defined());
  const std::int64_t K = 8, head = 1;
  for (std::int64_t r = 0; r < K / 2; ++r) {
    EXPECT_TRUE(torch::equal(file[head * K + r], ours[head * K + 2 * r]));
    EXPECT_TRUE(torch::equal(file[head * K + r + K / 2], ours[head * K + 2 * r + 1]));
  }
}

TEST(Import, RefusesAFileThatDoesNotFitAndLeavesTheModelAlone) {
  const ModelConfig config = small(MixerKind::kTttLinear, Backbone::kMamba, true, true);
  LanguageModel model(config, 1);
  const Tensors before = export_parameters(model);
  const Tensors other = export_parameters(LanguageModel(config, 2));

  Tensors missing = other;
  missing.erase(missing.begin() + 5);
  const std::string missing_name = other[5].first;
  std::string message = message_of([&] { import_parameters(model, missing, "m.safetensors"); });
  EXPECT_TRUE(contains(message, "m.safetensors") && contains(message, missing_name) && contains(message, "missing"))
      << message;

  Tensors superfluous = other;
  superfluous.emplace_back("model.layers.9.extra", torch::zeros(3));
  message = message_of([&] { import_parameters(model, superfluous, "m.safetensors"); });
  EXPECT_TRUE(contains(message, "model.layers.9.extra")) << message;

  Tensors reshaped = other;
  reshaped.back().second = torch::zeros({25});
  message = message_of([&] { import_parameters(model, reshaped, "m.safetensors"); });
  EXPECT_TRUE(contains(message, reshaped.back().first) && contains(message, "[25]") && contains(message, "[24]"))
      << message;

  const Tensors after = export_parameters(model);
  for (std::size_t i = 0; i < before.size(); ++i)
    EXPECT_TRUE(torch::equal(before[i].second, after[i].second)) << before[i].first;
}

TEST(Import, JaxFileMustFitToo) {
  const ModelConfig config = small(MixerKind::kTttMlp, Backbone::kTransformer, false, false);
  const LanguageModel model(config, 1);
  const auto parameters = model.named_parameters();
  Tensors file;
  for (const JaxName& name : jax_names(config)) {
    // The layout map is an involution, so it also leads from ours to theirs.
    file.emplace_back("param/" + name.jax, from_jax_layout(parameters[name.parameter], name.layout));
  }
  file.emplace_back("logits", torch::zeros(1));  // not below param/: not a parameter
  for (const auto& [name, tensor] : parameters_from_jax(file, config, "f"))
    EXPECT_TRUE(torch::equal(tensor, parameters[name])) << name;
  Tensors missing = file;
  missing.erase(missing.begin());
  EXPECT_TRUE(contains(message_of([&] { parameters_from_jax(missing, config, "f"); }), "model/wte/embedding"));
  file.emplace_back("param/model/h/0/conv/conv1/bias", torch::zeros(24));
  EXPECT_TRUE(contains(message_of([&] { parameters_from_jax(file, config, "f"); }), "model/h/0/conv/conv1/bias"));
}

TEST(HuggingFaceConfig, RoundTrip) {
  for (ModelConfig config : all_configs()) {
    config.rope_theta = 500000;
    config.ttt_base_lr = 0.25;
    config.ttt_base_lr_init = 0.125;
    config.ttt_base_lr_warmup_steps = 7;
    ModelConfig back = model_config_from_hugging_face(Json::parse(hugging_face_config(config).dump()), "config.json");
    if (!config.has_ttt()) {  // keys that the model has no use for
      back.backbone = config.backbone;
      back.mini_batch_size = config.mini_batch_size;
      back.ttt_base_lr = config.ttt_base_lr;
      back.ttt_base_lr_init = config.ttt_base_lr_init;
      back.ttt_base_lr_warmup_steps = config.ttt_base_lr_warmup_steps;
    }
    if (config.mixer.is_only(MixerKind::kMamba)) {
      back.num_heads = config.num_heads;
      back.intermediate_size = config.intermediate_size;
    }
    if (config.mixer.is_only(MixerKind::kMamba) || config.mixer.is_only(MixerKind::kGatedDeltaNet))
      back.rope_theta = config.rope_theta;
    EXPECT_EQ(back, config) << hugging_face_config(config).dump(2);
  }
}

TEST(HuggingFaceConfig, RefusesWhatItCannotRun) {
  const ModelConfig config = small(MixerKind::kAttention, Backbone::kTransformer, false, true);
  const auto refused = [&](const char* key, const Json& value) {
    Json json = hugging_face_config(config);
    json[key] = value;
    return message_of([&] { model_config_from_hugging_face(json, "dir/config.json"); });
  };
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"model_type", "gpt2"},
                                                                            {"num_key_value_heads", 1},
                                                                            {"hidden_act", "gelu"},
                                                                            {"rms_norm_eps", 1e-5},
                                                                            {"attention_bias", true},
                                                                            {"rope_scaling", {{"type", "linear"}}},
                                                                            {"vocab_size", "many"},
                                                                            {"num_hidden_layers", -1}}) {
    const std::string message = refused(key, value);
    EXPECT_TRUE(contains(message, "dir/config.json") && contains(message, key)) << key << ": " << message;
  }
}

TEST(Initialisation, DependsOnSeedAndNameOnly) {
  const ModelConfig config = small(MixerKind::kTttLinear, Backbone::kMamba, true, false);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const LanguageModel one(config, 5);
  at::set_num_threads(4);
  torch::manual_seed(99);
  torch::rand(17);
  const LanguageModel four(config, 5);
  at::set_num_threads(threads);
  const LanguageModel other(config, 6);
  ModelConfig deeper = config;
  deeper.num_layers = 3;
  const LanguageModel deep(deeper, 5);
  const auto a = one.named_parameters(), b = four.named_parameters(), c = other.named_parameters(),
             d = deep.named_parameters();
  for (const auto& parameter : a) {
    EXPECT_TRUE(torch::equal(parameter.value(), b[parameter.key()])) << parameter.key();
    EXPECT_TRUE(torch::equal(parameter.value(), d[parameter.key()])) << parameter.key();
  }
  EXPECT_FALSE(torch::equal(a["embedding.weight"], c["embedding.weight"]));
  EXPECT_FALSE(torch::equal(a["layers.0.mlp.up_proj.weight"], a["layers.1.mlp.up_proj.weight"]));
}

TEST(Initialisation, HasThePaperVariances) {
  ModelConfig config = small(MixerKind::kTttMlp, Backbone::kMamba, true, true);
  config.hidden_size = 512;
  config.num_heads = 8;
  config.vocab_size = 1000;
  const LanguageModel model(config, 1);
  const auto p = model.named_parameters();
  for (const char* name : {"embedding.weight", "layers.0.mixer.o_proj.weight", "layers.1.mixer.w2",
                           "layers.0.mixer.lr_weight", "layers.0.mlp.down_proj.weight"}) {
    EXPECT_NEAR(p[name].std().item<double>(), 0.02, 0.001) << name;
    EXPECT_NEAR(p[name].mean().item<double>(), 0.0, 0.001) << name;
  }
  for (const char* name : {"layers.0.mixer.conv_q.weight", "layers.0.pre_conv.conv.weight"}) {
    EXPECT_NEAR(p[name].std().item<double>(), 0.5, 0.03) << name;
    EXPECT_LE(p[name].abs().max().item<double>(), 2 * 0.5 / 0.8796 + 1e-6) << name;
  }
  for (const char* name :
       {"layers.0.mixer_norm.weight", "layers.0.mixer.post_norm.weight", "layers.0.mixer.ttt_norm_weight",
        "final_norm.weight", "layers.1.pre_conv.norm.weight", "layers.1.mlp_norm.weight"})
    EXPECT_TRUE((p[name] == 1).all().item<bool>()) << name;
  for (const char* name :
       {"layers.0.mixer.post_norm.bias", "layers.0.mixer.conv_k.bias", "layers.0.mixer.lr_bias", "layers.0.mixer.b1",
        "layers.0.mixer.b2", "layers.0.mixer.ttt_norm_bias", "layers.0.mixer.token_scale_delta"})
    EXPECT_TRUE((p[name] == 0).all().item<bool>()) << name;
}

TEST(Device, ThreadsAndCpu) {
  const int threads = at::get_num_threads();
  EXPECT_TRUE(select_device(DeviceKind::kCpu).is_cpu());
  prepare_cpu(1);
  EXPECT_EQ(at::get_num_threads(), 1);
  prepare_cpu(0);
  EXPECT_GE(at::get_num_threads(), 1);
  at::set_num_threads(threads);
}

TEST(Initialisation, MambaIsItsAuthors) {
  ModelConfig config = small(MixerPattern({MixerKind::kMamba, MixerKind::kAttention}), Backbone::kMamba, false, true);
  config.hidden_size = 96;
  const LanguageModel model(config, 3);
  const auto parameters = model.named_parameters();
  const auto value = [&](const char* name) { return parameters[std::string("layers.0.mixer.") + name]; };
  const torch::Tensor states = torch::arange(1, 17).to(torch::kFloat).log().expand({192, 16});
  EXPECT_TRUE(torch::allclose(value("A_log"), states));
  EXPECT_TRUE(torch::equal(value("D"), torch::ones({192})));
  const torch::Tensor dt = at::softplus(value("dt_proj.bias"));
  EXPECT_GE(dt.min().item<double>(), 0.999e-3);
  EXPECT_LE(dt.max().item<double>(), 1.001e-1);
  EXPECT_NEAR(dt.log().mean().item<double>(), std::log(1e-2), 0.3);
  // Uniform within a bound: the largest comes near it, the deviation is bound / sqrt(3).
  const auto expect_uniform = [&](const char* name, double bound) {
    const torch::Tensor weight = value(name);
    EXPECT_LE(weight.abs().max().item<double>(), bound) << name;
    EXPECT_NEAR(weight.std().item<double>() / (bound / std::sqrt(3.0)), 1.0, 0.1) << name;
  };
  expect_uniform("in_proj.weight", 1 / std::sqrt(96.0));
  expect_uniform("x_proj.weight", 1 / std::sqrt(192.0));
  expect_uniform("dt_proj.weight", 1 / std::sqrt(6.0));
  expect_uniform("conv.weight", 0.5);
  expect_uniform("conv.bias", 0.5);
  expect_uniform("out_proj.weight", 1 / std::sqrt(192.0) / std::sqrt(2.0));
  EXPECT_NEAR(parameters["layers.1.mixer.q_proj.weight"].std().item<double>(), 0.02, 2e-3);
  EXPECT_NEAR(parameters["layers.0.mlp.up_proj.weight"].std().item<double>(), 0.02, 2e-3);
}

}  // namespace
}  // namespace ttt
