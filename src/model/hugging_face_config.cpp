// config.json: Hugging Face's LlamaConfig for attention, its MambaConfig for Mamba, the official PyTorch model's
// TTTConfig for TTT; what none of them has (hybrids, attention windows, pre_conv elsewhere) is model_type ttt_cpp, with
// the keys of all and `mixer`, the list of layers.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>

#include "base/error.h"
#include "config/fields.h"
#include "model/layout.h"
#include "ops/causal_conv.h"

namespace ttt {
namespace {

// Keys that change nothing of what a trained model computes: how it was initialised, how a program generates with it or
// runs it, who wrote the file. Any value will do, as for names that begin with '_'.
const std::set<std::string> kHarmless = {
    // initialisation and training elsewhere
    "initializer_range", "attention_dropout", "gradient_checkpointing", "rescale_prenorm_residual", "time_step_floor",
    "time_step_init_scheme", "time_step_max", "time_step_min", "time_step_scale",
    // how it is run; residual_in_fp32 and dtypes are a matter of rounding
    "attn_implementation", "chunk_size_feed_forward", "dtype", "fused_add_norm", "output_attentions",
    "output_hidden_states", "pretraining_tp", "residual_in_fp32", "return_dict", "scan_checkpoint_group_size",
    "torch_dtype", "torchscript", "use_associative_scan", "use_bfloat16", "use_cache", "use_mambapy",
    // generation
    "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "decoder_start_token_id", "diversity_penalty",
    "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
    "forced_bos_token_id", "forced_eos_token_id", "is_decoder", "length_penalty", "max_length",
    "max_position_embeddings", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
    "num_return_sequences", "output_scores", "pad_token_id", "prefix", "remove_invalid_values", "repetition_penalty",
    "return_dict_in_generate", "sep_token_id", "suppress_tokens", "temperature", "top_k", "top_p", "typical_p",
    // who wrote it, and for which task
    "architectures", "auto_map", "finetuning_task", "id2label", "label2id", "model_max_length",
    "pad_vocab_size_multiple", "problem_type", "task_specific_params", "tf_legacy_loss", "tie_encoder_decoder",
    "tokenizer_class", "transformers.js_config", "transformers_version", "unsloth_fixed", "unsloth_version"};

// Typed access to the keys of a config.json, with messages that name file and key. Null is as good as absent.
class Reader {
 public:
  Reader(const Json& json, const std::string& source) : json_(json), source_(source) {
    if (!json.is_object()) user_error(source, ": not a JSON object; expected a Hugging Face config.json");
  }

  bool has(const char* key) const {
    asked_.insert(key);
    return json_.contains(key) && !json_[key].is_null();
  }
  // Of a key that there is.
  const Json& value(const char* key) const { return json_[key]; }

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
    if (equal) return;
    user_error(source_, ": '", key, "' is ", json_.contains(key) ? json_[key].dump() : "not given", " but only ",
               supported, " is supported");
  }
  // The same for a key that need not be there.
  void only_value(const char* key, const Json& supported) const {
    if (has(key)) only(key, json_[key] == supported, supported.dump());
  }

  // After all reading: what is left would be passed over, and might change the model.
  void check_nothing_is_left() const {
    for (const auto& [key, value] : json_.items()) {
      if (value.is_null() || asked_.count(key) != 0 || kHarmless.count(key) != 0 || key.starts_with('_')) continue;
      user_error(
          source_, ": the key '", key, "' (", value.dump(),
          ") is not known for this model_type and may change what the model computes; take it out of the file if "
          "it does not");
    }
  }

 private:
  void require(const char* key, bool holds, const char* what) const {
    if (!holds) user_error(source_, ": the key '", key, "' is missing or not ", what);
  }

  const Json& json_;
  const std::string& source_;
  mutable std::set<std::string> asked_;
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
  in.only("sliding_window", !in.has("sliding_window"), "null");
  in.only_value("use_sliding_window", false);
  if (!in.has("layer_types")) return;
  const Json& types = in.value("layer_types");
  in.only("layer_types", std::all_of(types.begin(), types.end(), [](const Json& t) { return t == "full_attention"; }),
          "full_attention for every layer");
}

// RoPE's base: a key of its own, or inside of rope_parameters, where transformers 5 has it with the scaling.
double read_rope_theta(const Reader& in, const std::string& source) {
  double theta = in.number("rope_theta", 10000.0);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!in.has(key)) continue;
    const Json& rope = in.value(key);
    const char* supported = "RoPE without scaling (rope_type default)";
    in.only(key, rope.is_object(), supported);
    for (const auto& [name, value] : rope.items()) {
      if (name == "rope_theta" && value.is_number()) {
        if (in.has("rope_theta") && value.get<double>() != theta)
          user_error(source, ": 'rope_theta' is ", theta, ", and ", value.dump(), " in '", key,
                     "'; take one of them out");
        theta = value.get<double>();
      } else if (name == "rope_type" || name == "type") {
        in.only(key, value == "default", supported);
      } else if (name == "factor" || name == "partial_rotary_factor") {
        in.only(key, value.is_null() || value == 1.0, supported);
      } else {
        in.only(key, value.is_null() || name == "original_max_position_embeddings", supported);
      }
    }
  }
  in.only_value("partial_rotary_factor", 1.0);
  return theta;
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
  if (config.is_pure_mamba()) {  // the width of its channels, which follows from others, and old names of three keys
    for (const char* key : {"intermediate_size", "d_inner"}) in.only_value(key, config.mamba_channels());
    in.only_value("d_model", config.hidden_size);
    in.only_value("n_layer", config.num_layers);
  }
  in.only_value("rms_norm", true);
  for (const char* key : {"ssm_cfg", "attn_cfg"}) in.only_value(key, Json::object());
  in.only_value("attn_layer_idx", Json::array());
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

GenerationKeys generation_keys(const Json& json) {
  GenerationKeys keys;
  if (!json.is_object()) return keys;
  if (const auto found = json.find("max_position_embeddings"); found != json.end() && found->is_number_integer())
    keys.max_position_embeddings = std::max<std::int64_t>(found->get<std::int64_t>(), 0);
  keys.bos_token_id = json.value("bos_token_id", Json());
  keys.eos_token_id = json.value("eos_token_id", Json());
  keys.pad_token_id = json.value("pad_token_id", Json());
  return keys;
}

Json hugging_face_config(const ModelConfig& config, const GenerationKeys& generation) {
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
  if (generation.max_position_embeddings > 0) json["max_position_embeddings"] = generation.max_position_embeddings;
  json["bos_token_id"] =
      generation.bos_token_id;  // null, too: what is not given, each architecture takes for another id
  json["eos_token_id"] = generation.eos_token_id;
  json["pad_token_id"] = generation.pad_token_id;
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
    config.rope_theta = read_rope_theta(in, source);
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
  in.only_value("is_encoder_decoder", false);
  in.only_value("add_cross_attention", false);
  in.only_value("pruned_heads", Json::object());
  in.only("quantization_config", !in.has("quantization_config"), "a model that is not quantized");
  in.check_nothing_is_left();
  try {
    for (const Field& field : fields_of(config)) field.set(field.get());  // checks the bounds that a YAML config has
  } catch (const UserError& error) {
    user_error(source, ": ", error.what());
  }
  validate(config);
  return config;
}

}  // namespace ttt
