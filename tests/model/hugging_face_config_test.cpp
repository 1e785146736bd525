// Hugging Face's config.json as versions 4 and 5 of transformers write it: what is read, what is refused by name, what
// does not matter, and what is written for other programs.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "checkpoint/safetensors.h"
#include "convert/huggingface.h"
#include "model/layout.h"
#include "support/scratch_folder.h"

namespace ttt {
namespace {

// LlamaConfig as transformers 4 writes it.
Json llama_json() {
  return Json::parse(R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 1, "eos_token_id": [2, 7], "head_dim": 8, "hidden_act": "silu", "hidden_size": 24,
    "initializer_range": 0.02, "intermediate_size": 40, "max_position_embeddings": 2048, "mlp_bias": false,
    "model_type": "llama", "num_attention_heads": 3, "num_hidden_layers": 2, "num_key_value_heads": 3,
    "pad_token_id": null, "pretraining_tp": 1, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 500000.0,
    "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.46.3", "use_cache": true,
    "vocab_size": 31})");
}

// MambaConfig as the models on the hub have it, old names included.
Json mamba_json() {
  return Json::parse(R"({"_name_or_path": "mamba", "architectures": ["MambaForCausalLM"], "bos_token_id": 0,
    "conv_kernel": 4, "d_inner": 48, "d_model": 24, "eos_token_id": 0, "expand": 2, "fused_add_norm": true,
    "hidden_act": "silu", "hidden_size": 24, "initializer_range": 0.1, "intermediate_size": 48,
    "layer_norm_epsilon": 1e-05, "model_type": "mamba", "n_layer": 2, "num_hidden_layers": 2, "pad_token_id": 0,
    "pad_vocab_size_multiple": 8, "rescale_prenorm_residual": false, "residual_in_fp32": true, "rms_norm": true,
    "ssm_cfg": {}, "state_size": 16, "time_step_floor": 0.0001, "time_step_init_scheme": "random",
    "time_step_max": 0.1, "time_step_min": 0.001, "time_step_rank": 2, "time_step_scale": 1.0,
    "torch_dtype": "float32", "transformers_version": "4.39.0", "use_bias": false, "use_cache": true,
    "use_conv_bias": true, "vocab_size": 31})");
}

ModelConfig read_config(const Json& json) {
  return model_config_from_hugging_face(json, "dir/config.json");
}

std::string refusal_of(const Json& json) {
  try {
    read_config(json);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no UserError";
}

// The config with a key set, or taken out where the value is null.
Json with(Json json, const char* key, const Json& value) {
  json[key] = value;
  return json;
}

TEST(HuggingFaceKeys, BothVersionsSpellings) {
  const ModelConfig config = read_config(llama_json());
  EXPECT_EQ(config.rope_theta, 500000);
  Json five = llama_json();
  five.erase("rope_theta");
  five.erase("rope_scaling");
  five.erase("torch_dtype");
  five["dtype"] = "bfloat16";
  five["rope_parameters"] = {{"rope_theta", 500000.0}, {"rope_type", "default"}};
  EXPECT_EQ(read_config(five), config);
  five["rope_parameters"]["partial_rotary_factor"] = 1.0;
  five["rope_parameters"]["factor"] = nullptr;
  five["rope_theta"] = 500000;
  EXPECT_EQ(read_config(five), config);
  for (const char* name : {"type", "rope_type"})
    EXPECT_EQ(read_config(with(llama_json(), "rope_scaling", {{name, "default"}})), config);
  EXPECT_EQ(read_config(with(llama_json(), "layer_types", {"full_attention", "full_attention"})), config);
  EXPECT_EQ(read_config(mamba_json()).num_layers, 2);
  // Absent: what the class takes.
  Json less = llama_json();
  less.erase("rope_theta");
  EXPECT_EQ(read_config(less).rope_theta, 10000);
}

TEST(HuggingFaceKeys, WhatChangesTheModelIsRefusedByName) {
  struct Case {
    Json json;
    std::string key, value;  // as the message names them
  };
  const Json scaled = {{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 1.0}, {"rope_theta", 500000.0}};
  std::vector<Case> cases;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    cases.push_back({with(llama_json(), key, scaled), key, "llama3"});
    for (const char* type : {"linear", "dynamic", "yarn", "longrope"})
      cases.push_back({with(llama_json(), key, {{"rope_type", type}, {"factor", 2.0}}), key, type});
    cases.push_back({with(llama_json(), key, {{"type", "linear"}, {"factor", 2.0}}), key, "linear"});
    cases.push_back({with(llama_json(), key, {{"factor", 2.0}}), key, "2.0"});
    cases.push_back({with(llama_json(), key, {{"rope_type", "default"}, {"mrope_section", {1, 1}}}), key, "mrope"});
    cases.push_back({with(llama_json(), key, {{"full_attention", {{"rope_theta", 5e5}}}}), key, "full_attention"});
    cases.push_back({with(llama_json(), key, {{"rope_theta", 10000.0}}), key, "10000"});  // and another beside it
    cases.push_back({with(llama_json(), key, "yarn"), key, "yarn"});
  }
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"num_key_value_heads", 1},
                                                                            {"head_dim", 16},
                                                                            {"attention_bias", true},
                                                                            {"mlp_bias", true},
                                                                            {"sliding_window", 4096},
                                                                            {"use_sliding_window", true},
                                                                            {"layer_types", {"sliding_attention"}},
                                                                            {"partial_rotary_factor", 0.5},
                                                                            {"hidden_act", "gelu"},
                                                                            {"rms_norm_eps", 1e-5},
                                                                            {"is_encoder_decoder", true},
                                                                            {"add_cross_attention", true},
                                                                            {"pruned_heads", {{"0", {1}}}},
                                                                            {"quantization_config", {{"bits", 4}}},
                                                                            // of other models, unknown here
                                                                            {"logits_scaling", 8.0},
                                                                            {"embedding_multiplier", 12.0},
                                                                            {"final_logit_softcapping", 30.0},
                                                                            {"num_local_experts", 8},
                                                                            {"rotary_emb_base", 1000},
                                                                            {"rope_thetta", 500000.0},
                                                                            {"state_size", 16}}) {
    cases.push_back({with(llama_json(), key, value), key, value.dump()});
  }
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"state_size", 64},
                                                                            {"expand", 4},
                                                                            {"conv_kernel", 3},
                                                                            {"intermediate_size", 96},
                                                                            {"d_inner", 96},
                                                                            {"d_model", 48},
                                                                            {"n_layer", 3},
                                                                            {"rms_norm", false},
                                                                            {"ssm_cfg", {{"layer", "Mamba2"}}},
                                                                            {"attn_layer_idx", {1}},
                                                                            {"use_bias", true},
                                                                            {"use_conv_bias", false},
                                                                            {"layer_norm_epsilon", 1e-6},
                                                                            {"time_step_rank", 3},
                                                                            {"mixer_rms_eps", 1e-6}}) {
    cases.push_back({with(mamba_json(), key, value), key, value.dump()});
  }
  for (const Case& c : cases) {
    const std::string message = refusal_of(c.json);
    EXPECT_TRUE(message.starts_with("dir/config.json: ") && message.find("'" + c.key + "'") != message.npos &&
                message.find(c.value) != message.npos)
        << c.key << " " << c.value << ": " << message;
  }
  // A key that is wanted and not there is named, too.
  Json hybrid = hugging_face_config(read_config(llama_json()));
  hybrid["model_type"] = "ttt_cpp";
  hybrid["mixer"] = {"attention", "mamba"};
  hybrid.erase("layer_norm_epsilon");
  EXPECT_EQ(refusal_of(hybrid),
            "dir/config.json: 'layer_norm_epsilon' is not given but only 1e-06 (in a hybrid) is supported");
}

TEST(HuggingFaceKeys, WhatDoesNotMatterIsTaken) {
  const ModelConfig llama = read_config(llama_json()), mamba = read_config(mamba_json());
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"use_cache", false},
                                                                            {"initializer_range", 0.5},
                                                                            {"torch_dtype", "float16"},
                                                                            {"dtype", "float32"},
                                                                            {"transformers_version", "5.0.0"},
                                                                            {"_name_or_path", "a/b"},
                                                                            {"_attn_implementation_autoset", true},
                                                                            {"attention_dropout", 0.1},
                                                                            {"pretraining_tp", 2},
                                                                            {"max_position_embeddings", 131072},
                                                                            {"bos_token_id", nullptr},
                                                                            {"eos_token_id", {1, 2}},
                                                                            {"pad_token_id", 30},
                                                                            {"temperature", 0.7},
                                                                            {"id2label", {{"0", "LABEL_0"}}},
                                                                            {"unsloth_version", "2025.1"},
                                                                            {"is_encoder_decoder", false},
                                                                            {"pruned_heads", Json::object()},
                                                                            {"some_future_key", nullptr}}) {
    EXPECT_EQ(read_config(with(llama_json(), key, value)), llama) << key;
    EXPECT_EQ(read_config(with(mamba_json(), key, value)), mamba) << key;
  }
  EXPECT_EQ(read_config(with(mamba_json(), "residual_in_fp32", false)), mamba);
  EXPECT_EQ(read_config(with(mamba_json(), "time_step_rank", "auto")), mamba);
}

// What flash-linear-attention's GatedDeltaNetForCausalLM writes.
TEST(HuggingFaceKeys, GatedDeltaNet) {
  const Json fla = Json::parse(R"({"model_type": "gated_deltanet", "architectures": ["GatedDeltaNetForCausalLM"],
    "attn": null, "attn_mode": "chunk", "allow_neg_eigval": false, "bos_token_id": 1, "conv_size": 4, "eos_token_id": 2,
    "expand_v": 1.5, "fuse_cross_entropy": true, "fuse_linear_cross_entropy": false, "fuse_norm": true,
    "fuse_swiglu": true, "head_dim": 32, "hidden_act": "swish", "hidden_ratio": 4, "hidden_size": 96,
    "initializer_range": 0.02, "intermediate_size": null, "max_position_embeddings": 2048, "norm_eps": 1e-06,
    "num_heads": 2, "num_hidden_layers": 3, "num_v_heads": null, "tie_word_embeddings": false,
    "transformers_version": "4.53.0", "use_cache": true, "use_gate": true, "use_l2warp": false, "use_short_conv": true,
    "vocab_size": 31})");
  const ModelConfig config = read_config(fla);
  EXPECT_EQ(config.mixer, MixerPattern(MixerKind::kGatedDeltaNet));
  EXPECT_EQ(config.num_heads, 2);
  EXPECT_EQ(config.head_dim, 32);
  EXPECT_EQ(config.expand_v, 1.5);
  EXPECT_EQ(config.intermediate_size, 256);  // 96 * 4 * 2 / 3, rounded up
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_EQ(read_config(with(fla, "intermediate_size", 72)).intermediate_size, 72);
  EXPECT_EQ(read_config(with(fla, "hidden_size", 512)).intermediate_size, 1536);
  EXPECT_EQ(read_config(hugging_face_config(config)), config);
  for (const auto& [key, value] : std::vector<std::pair<const char*, Json>>{{"num_v_heads", 4},
                                                                            {"attn", {{"layers", {1}}}},
                                                                            {"use_short_conv", false},
                                                                            {"conv_size", 3},
                                                                            {"norm_eps", 1e-5},
                                                                            {"use_gate", false},
                                                                            {"allow_neg_eigval", true},
                                                                            {"hidden_act", "gelu"},
                                                                            {"expand_v", 1.51},
                                                                            {"something_new", 1}}) {
    const std::string message = refusal_of(with(fla, key, value));
    EXPECT_TRUE(message.starts_with("dir/config.json: ") && message.find(key) != message.npos)
        << key << ": " << message;
  }
}

TEST(HuggingFaceKeys, WrittenForOtherProgramsInEveryArchitecture) {
  const GenerationKeys given{512, 1, Json::parse("[2, 7]"), nullptr};
  ModelConfig ttt = read_config(llama_json());
  ttt.mixer = MixerKind::kTttMlp;
  ModelConfig hybrid = ttt;
  hybrid.mixer = MixerPattern({MixerKind::kAttention, MixerKind::kMamba});
  for (const ModelConfig& config : {read_config(llama_json()), read_config(mamba_json()), ttt, hybrid}) {
    const Json json = hugging_face_config(config, given);
    const std::string type = json["model_type"].get<std::string>();
    EXPECT_EQ(json["max_position_embeddings"], 512) << type;
    EXPECT_EQ(json["bos_token_id"], 1) << type;
    EXPECT_EQ(json["eos_token_id"], Json({2, 7})) << type;
    ASSERT_TRUE(json.contains("pad_token_id")) << type;  // null: an architecture's own default would be a token
    EXPECT_TRUE(json["pad_token_id"].is_null()) << type;
    EXPECT_EQ(json["torch_dtype"], "float32") << type;
    const GenerationKeys back = generation_keys(json);
    EXPECT_EQ(hugging_face_config(config, back), json) << type;
    // Nothing is known: no id, and no context.
    const Json unknown = hugging_face_config(config);
    EXPECT_FALSE(unknown.contains("max_position_embeddings")) << type;
    for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"})
      EXPECT_TRUE(unknown.contains(key) && unknown[key].is_null()) << type;
  }
  EXPECT_EQ(generation_keys(llama_json()).eos_token_id, Json({2, 7}));
  EXPECT_EQ(generation_keys(llama_json()).max_position_embeddings, 2048);
}

// A whole folder, with the buffers that old versions wrote beside the weights.
TEST(HuggingFaceFolder, RotaryBuffersBesideTheWeights) {
  const ScratchFolder folder;
  const ModelConfig config = read_config(llama_json());
  auto tensors = export_parameters(LanguageModel(config, 3));
  tensors.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", torch::ones({4}));
  tensors.emplace_back("model.rotary_emb.inv_freq", torch::ones({4}));
  folder.write("config.json", llama_json().dump());
  write_safetensors(folder / "model.safetensors", tensors, {});
  const HuggingFaceModel loaded = load_hugging_face(folder.path());
  EXPECT_EQ(loaded.generation.eos_token_id, Json({2, 7}));
  const auto back = export_parameters(*loaded.model);
  ASSERT_EQ(back.size() + 2, tensors.size());
  for (std::size_t i = 0; i < back.size(); ++i)
    EXPECT_TRUE(torch::equal(back[i].second, tensors[i].second)) << back[i].first;
}

}  // namespace
}  // namespace ttt
