// config.json: Hugging Face's LlamaConfig for attention, its MambaConfig for Mamba, the official PyTorch model's
// TTTConfig for TTT; what none of them has (hybrids, attention windows, pre_conv elsewhere) is model_type ttt_cpp, with
// the keys of all and `mixer`, the list of layers.
#include <cmath>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "config/fields.h"
#include "model/layout.h"
#include "ops/causal_conv.h"

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

  std::int64_t positive(const char* key) const {
    const std::int64_t value = integer(key);
    only(key, value > 0 && value <= (std::int64_t{1} << 30), "a positive number up to 2^30");
    return value;
  }
  bool is_text(const char* key) const { return has(key) && json_[key].is_string(); }

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

const char* to_hugging_face(MixerKind kind) {
  return kind == MixerKind::kTttMlp ? "mlp" : "linear";
}

// --- model type by model type: which, what is written, what is read ---

bool is_llama(const ModelConfig& config) {
  return config.mixer.is_only(MixerKind::kAttention) && !config.pre_conv && config.attention_window == 0;
}
bool is_ttt(const ModelConfig& config) {
  return config.mixer.is_only(MixerKind::kTttLinear) || config.mixer.is_only(MixerKind::kTttMlp);
}
bool is_mamba(const ModelConfig& config) {
  return config.is_pure_mamba() && !config.pre_conv;
}

void write_attention_keys(const ModelConfig& config, Json& json) {
  json["num_key_value_heads"] = config.num_heads;
  json["head_dim"] = config.head_dim();
  json["attention_bias"] = false;
  json["mlp_bias"] = false;
}

void write_ttt_keys(const ModelConfig& config, Json& json) {
  json["use_gate"] = config.backbone == Backbone::kMamba;
  json["share_qk"] = config.backbone == Backbone::kMamba;
  json["mini_batch_size"] = config.mini_batch_size;
  json["ttt_base_lr"] = config.resolved_ttt_base_lr();
  json["ttt_base_lr_init"] = config.resolved_ttt_base_lr_init();
  if (config.ttt_base_lr_warmup_steps >= 0) json["ttt_base_lr_warmup_steps"] = config.ttt_base_lr_warmup_steps;
  json["conv_kernel"] = kConvWidth;
  json["scan_checkpoint_group_size"] = 0;
}

void write_mamba_keys(const ModelConfig& config, Json& json) {
  json["layer_norm_epsilon"] = config.rms_norm_eps();
  json["state_size"] = kMambaStates;
  json["expand"] = 2;
  json["conv_kernel"] = kConvWidth;
  json["time_step_rank"] = config.mamba_dt_rank();
  json["use_bias"] = false;
  json["use_conv_bias"] = true;
  json["residual_in_fp32"] = true;
}

void read_attention_keys(const Reader& in, const ModelConfig& config) {
  if (in.has("num_key_value_heads"))
    in.only("num_key_value_heads", in.integer("num_key_value_heads") == config.num_heads, "one key head for each head");
  if (in.has("head_dim"))
    in.only("head_dim", in.integer("head_dim") * config.num_heads == config.hidden_size, "hidden_size / heads");
  in.only("attention_bias", !in.boolean("attention_bias", false), "false");
  in.only("mlp_bias", !in.boolean("mlp_bias", false), "false");
  in.only("rope_scaling", !in.has("rope_scaling"), "null");
}

void read_ttt_keys(const Reader& in, const std::string& source, ModelConfig& config) {
  const bool gate = in.boolean("use_gate", false), share_qk = in.boolean("share_qk", false);
  if (gate != share_qk)
    user_error(source,
               ": 'use_gate' and 'share_qk' differ; only both true (Mamba backbone) or both false (Transformer "
               "backbone) are supported");
  config.backbone = gate ? Backbone::kMamba : Backbone::kTransformer;
  config.mini_batch_size = in.has("mini_batch_size") ? in.integer("mini_batch_size") : 16;
  in.only("mini_batch_size", config.mini_batch_size > 0, "a positive number");
  config.ttt_base_lr = in.number("ttt_base_lr", 1.0);
  config.ttt_base_lr_init = in.number("ttt_base_lr_init", -1);
  if (in.has("ttt_base_lr_warmup_steps")) config.ttt_base_lr_warmup_steps = in.integer("ttt_base_lr_warmup_steps");
  if (in.has("conv_kernel")) in.only("conv_kernel", in.integer("conv_kernel") == kConvWidth, "4");
}

void read_mamba_keys(const Reader& in, const ModelConfig& config) {
  in.only("layer_norm_epsilon", std::abs(in.number("layer_norm_epsilon", 1e-5) - config.rms_norm_eps()) < 1e-12,
          config.is_pure_mamba() ? "1e-05" : "1e-06 (in a hybrid)");
  if (in.has("state_size")) in.only("state_size", in.integer("state_size") == kMambaStates, "16");
  if (in.has("expand")) in.only("expand", in.integer("expand") == 2, "2");
  if (in.has("conv_kernel")) in.only("conv_kernel", in.integer("conv_kernel") == kConvWidth, "4");
  if (in.has("time_step_rank") && !in.is_text("time_step_rank"))
    in.only("time_step_rank", in.integer("time_step_rank") == config.mamba_dt_rank(), "hidden_size / 16, rounded up");
  in.only("use_bias", !in.boolean("use_bias", false), "false");
  in.only("use_conv_bias", in.boolean("use_conv_bias", true), "true");
}

// The list of layers of a ttt_cpp model. Without the key (files of version 0.1): attention.
MixerPattern read_pattern(const Reader& in, const Json& json, const std::string& source) {
  if (!in.has("mixer")) return MixerKind::kAttention;
  std::vector<MixerKind> kinds;
  if (json["mixer"].is_array()) {
    for (const Json& name : json["mixer"]) {
      for (const MixerKind kind :
           {MixerKind::kAttention, MixerKind::kTttLinear, MixerKind::kTttMlp, MixerKind::kMamba}) {
        if (name == to_string(kind)) kinds.push_back(kind);
      }
    }
  }
  if (kinds.empty() || kinds.size() != json["mixer"].size())
    user_error(source, ": 'mixer' must be a list of attention, ttt_linear, ttt_mlp and mamba");
  return MixerPattern(kinds);
}

}  // namespace

Json hugging_face_config(const ModelConfig& config) {
  const bool llama = is_llama(config), ttt = is_ttt(config), mamba = is_mamba(config);
  Json json;
  json["model_type"] = llama ? "llama" : ttt ? "ttt" : mamba ? "mamba" : "ttt_cpp";
  json["architectures"] = {llama   ? "LlamaForCausalLM"
                           : ttt   ? "TTTForCausalLM"
                           : mamba ? "MambaForCausalLM"
                                   : "TttCppForCausalLM"};
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["num_hidden_layers"] = config.num_layers;
  if (!config.is_pure_mamba()) {
    json["intermediate_size"] = config.intermediate_size;
    json["num_attention_heads"] = config.num_heads;
    json["rms_norm_eps"] = config.rms_norm_eps();
    json["rope_theta"] = config.rope_theta;
  } else {
    json["intermediate_size"] = config.mamba_channels();  // so Hugging Face calls it there
  }
  json["hidden_act"] = "silu";
  json["tie_word_embeddings"] = config.tie_embeddings;
  json["initializer_range"] = 0.02;
  json["torch_dtype"] = "float32";
  if (ttt) json["ttt_layer_type"] = to_hugging_face(config.mixer.kinds().front());
  if (config.has_ttt()) write_ttt_keys(config, json);
  if (config.mixer.contains(MixerKind::kAttention)) write_attention_keys(config, json);
  if (config.mixer.contains(MixerKind::kMamba)) write_mamba_keys(config, json);
  if (!llama && !mamba) json["pre_conv"] = config.pre_conv;
  if (!llama && !mamba && !ttt) {
    for (const MixerKind kind : config.mixer.kinds()) json["mixer"].push_back(to_string(kind));
    json["attention_window"] = config.attention_window;
  }
  return json;
}

ModelConfig model_config_from_hugging_face(const Json& json, const std::string& source) {
  const Reader in(json, source);
  ModelConfig config;
  const std::string type = in.text("model_type", "");
  if (type == "llama") {
    config.mixer = MixerKind::kAttention;
  } else if (type == "mamba") {
    config.mixer = MixerKind::kMamba;
  } else if (type == "ttt") {
    const std::string layer = in.text("ttt_layer_type", "linear");
    if (layer != "linear" && layer != "mlp") in.only("ttt_layer_type", false, "linear or mlp");
    config.mixer = layer == "linear" ? MixerKind::kTttLinear : MixerKind::kTttMlp;
  } else if (type == "ttt_cpp") {
    config.mixer = read_pattern(in, json, source);
  } else {
    user_error(source, ": model_type '", type, "' is not supported; llama, mamba, ttt and ttt_cpp are");
  }
  config.vocab_size = in.positive("vocab_size");
  config.hidden_size = in.positive("hidden_size");
  config.num_layers = in.positive("num_hidden_layers");
  if (!config.is_pure_mamba()) {
    config.intermediate_size = in.positive("intermediate_size");
    config.num_heads = in.positive("num_attention_heads");
    config.rope_theta = in.number("rope_theta", 10000.0);
    in.only("rms_norm_eps", std::abs(in.number("rms_norm_eps", 1e-6) - config.rms_norm_eps()) < 1e-12, "1e-06");
  }
  if (!config.has_ttt()) config.backbone = Backbone::kTransformer;
  config.pre_conv = in.boolean("pre_conv", false);
  config.tie_embeddings = in.boolean("tie_word_embeddings", type != "llama");
  if (in.has("attention_window")) config.attention_window = in.integer("attention_window");
  in.only("hidden_act", in.text("hidden_act", "silu") == "silu", "silu");
  if (config.has_ttt()) read_ttt_keys(in, source, config);
  if (config.mixer.contains(MixerKind::kAttention)) read_attention_keys(in, config);
  if (config.mixer.contains(MixerKind::kMamba)) read_mamba_keys(in, config);
  try {
    for (const Field& field : fields_of(config)) field.set(field.get());  // checks the bounds that a YAML config has
  } catch (const UserError& error) {
    user_error(source, ": ", error.what());
  }
  validate(config);
  return config;
}

}  // namespace ttt
