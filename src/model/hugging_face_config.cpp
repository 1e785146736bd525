// config.json: Hugging Face's LlamaConfig for attention, the official PyTorch model's TTTConfig for TTT; attention with
// pre_conv, which Llama lacks, is model_type ttt_cpp with Llama's keys.
#include <cmath>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "model/layout.h"
#include "ops/causal_conv.h"
#include "ops/rms_norm.h"

namespace ttt {
namespace {

// Typed access to the keys of a config.json, with messages that name file and key.
class Reader {
 public:
  Reader(const Json& json, const std::string& source) : json_(json), source_(source) {
    if (!json.is_object()) user_error(source, ": not a JSON object; expected a Hugging Face config.json");
  }

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }

  std::int64_t integer(const char* key) const {
    require(key, has(key) && json_[key].is_number_integer(), "a whole number");
    return json_[key].get<std::int64_t>();
  }
  double number(const char* key, double fallback) const {
    if (!has(key)) return fallback;
    require(key, json_[key].is_number(), "a number");
    return json_[key].get<double>();
  }
  bool boolean(const char* key, bool fallback) const {
    if (!has(key)) return fallback;
    require(key, json_[key].is_boolean(), "true or false");
    return json_[key].get<bool>();
  }
  std::string text(const char* key, const std::string& fallback) const {
    if (!has(key)) return fallback;
    require(key, json_[key].is_string(), "text");
    return json_[key].get<std::string>();
  }

  // This program has one value for the key; files with another cannot be loaded.
  void only(const char* key, bool equal, const std::string& supported) const {
    if (!equal) user_error(source_, ": '", key, "' is ", json_[key].dump(), " but only ", supported, " is supported");
  }

 private:
  void require(const char* key, bool holds, const char* what) const {
    if (!holds) user_error(source_, ": the key '", key, "' is missing or not ", what);
  }

  const Json& json_;
  const std::string& source_;
};

void read_ttt_keys(const Reader& in, const std::string& source, ModelConfig& config) {
  const std::string layer = in.text("ttt_layer_type", "linear");
  if (layer != "linear" && layer != "mlp") in.only("ttt_layer_type", false, "linear or mlp");
  config.mixer = layer == "linear" ? MixerKind::kTttLinear : MixerKind::kTttMlp;
  const bool gate = in.boolean("use_gate", false), share_qk = in.boolean("share_qk", false);
  if (gate != share_qk)
    user_error(source,
               ": 'use_gate' and 'share_qk' differ; only both true (Mamba backbone) or both false (Transformer "
               "backbone) are supported");
  config.backbone = gate ? Backbone::kMamba : Backbone::kTransformer;
  config.pre_conv = in.boolean("pre_conv", false);
  config.mini_batch_size = in.has("mini_batch_size") ? in.integer("mini_batch_size") : 16;
  config.ttt_base_lr = in.number("ttt_base_lr", 1.0);
  config.ttt_base_lr_init = in.number("ttt_base_lr_init", -1);
  if (in.has("ttt_base_lr_warmup_steps")) config.ttt_base_lr_warmup_steps = in.integer("ttt_base_lr_warmup_steps");
  if (in.has("conv_kernel")) in.only("conv_kernel", in.integer("conv_kernel") == kConvWidth, "4");
}

}  // namespace

Json hugging_face_config(const ModelConfig& config) {
  const bool llama = config.mixer == MixerKind::kAttention && !config.pre_conv;
  Json json;
  json["model_type"] = llama ? "llama" : config.is_ttt() ? "ttt" : "ttt_cpp";
  json["architectures"] = {llama ? "LlamaForCausalLM" : config.is_ttt() ? "TTTForCausalLM" : "TttCppForCausalLM"};
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_layers;
  json["num_attention_heads"] = config.num_heads;
  json["hidden_act"] = "silu";
  json["rms_norm_eps"] = kRmsNormEps;
  json["rope_theta"] = config.rope_theta;
  json["tie_word_embeddings"] = config.tie_embeddings;
  json["initializer_range"] = 0.02;
  json["torch_dtype"] = "float32";
  if (config.is_ttt()) {
    json["ttt_layer_type"] = config.mixer == MixerKind::kTttLinear ? "linear" : "mlp";
    json["use_gate"] = config.backbone == Backbone::kMamba;
    json["share_qk"] = config.backbone == Backbone::kMamba;
    json["mini_batch_size"] = config.mini_batch_size;
    json["ttt_base_lr"] = config.resolved_ttt_base_lr();
    json["ttt_base_lr_init"] = config.resolved_ttt_base_lr_init();
    if (config.ttt_base_lr_warmup_steps >= 0) json["ttt_base_lr_warmup_steps"] = config.ttt_base_lr_warmup_steps;
    json["conv_kernel"] = kConvWidth;
    json["scan_checkpoint_group_size"] = 0;
  } else {
    json["num_key_value_heads"] = config.num_heads;
    json["head_dim"] = config.head_dim();
    json["attention_bias"] = false;
    json["mlp_bias"] = false;
  }
  if (!llama) json["pre_conv"] = config.pre_conv;
  return json;
}

ModelConfig model_config_from_hugging_face(const Json& json, const std::string& source) {
  const Reader in(json, source);
  ModelConfig config;
  const std::string type = in.text("model_type", "");
  if (type != "llama" && type != "ttt" && type != "ttt_cpp")
    user_error(source, ": model_type '", type, "' is not supported; llama, ttt and ttt_cpp are");
  config.vocab_size = in.integer("vocab_size");
  config.hidden_size = in.integer("hidden_size");
  config.intermediate_size = in.integer("intermediate_size");
  config.num_layers = in.integer("num_hidden_layers");
  config.num_heads = in.integer("num_attention_heads");
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"})
    in.only(key, in.integer(key) > 0, "a positive number");
  config.rope_theta = in.number("rope_theta", 10000.0);
  config.tie_embeddings = in.boolean("tie_word_embeddings", type != "llama");
  in.only("hidden_act", in.text("hidden_act", "silu") == "silu", "silu");
  in.only("rms_norm_eps", std::abs(in.number("rms_norm_eps", kRmsNormEps) - kRmsNormEps) < 1e-12, "1e-06");
  if (type == "ttt") {
    read_ttt_keys(in, source, config);
  } else {
    config.mixer = MixerKind::kAttention;
    config.pre_conv = type == "ttt_cpp" && in.boolean("pre_conv", false);
    if (in.has("num_key_value_heads"))
      in.only("num_key_value_heads", in.integer("num_key_value_heads") == config.num_heads,
              "one key head for each head");
    if (in.has("head_dim"))
      in.only("head_dim", in.integer("head_dim") * config.num_heads == config.hidden_size, "hidden_size / heads");
    in.only("attention_bias", !in.boolean("attention_bias", false), "false");
    in.only("mlp_bias", !in.boolean("mlp_bias", false), "false");
    in.only("rope_scaling", !in.has("rope_scaling"), "null");
  }
  validate(config);
  return config;
}

}  // namespace ttt
