#include "arch/hugging_face_reader.h"

#include <cmath>

#include "base/error.h"

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

}  // namespace

HuggingFaceReader::HuggingFaceReader(const Json& json, const std::string& source) : json_(json), source_(source) {
  if (!json.is_object()) user_error(source, ": not a JSON object; expected a Hugging Face config.json");
}

bool HuggingFaceReader::has(const char* key) const {
  asked_.insert(key);
  return json_.contains(key) && !json_[key].is_null();
}

std::int64_t HuggingFaceReader::integer(const char* key) const {
  require(key, has(key) && json_[key].is_number_integer(), "a whole number");
  return json_[key].get<std::int64_t>();
}

std::int64_t HuggingFaceReader::positive(const char* key) const {
  const std::int64_t value = integer(key);
  only(key, value > 0 && value <= (std::int64_t{1} << 30), "a positive number up to 2^30");
  return value;
}

double HuggingFaceReader::number(const char* key, double fallback) const {
  if (!has(key)) return fallback;
  require(key, json_[key].is_number(), "a number");
  return json_[key].get<double>();
}

bool HuggingFaceReader::boolean(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  require(key, json_[key].is_boolean(), "true or false");
  return json_[key].get<bool>();
}

std::string HuggingFaceReader::text(const char* key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  require(key, json_[key].is_string(), "text");
  return json_[key].get<std::string>();
}

void HuggingFaceReader::only(const char* key, bool equal, const std::string& supported) const {
  if (equal) return;
  user_error(source_, ": '", key, "' is ", json_.contains(key) ? json_[key].dump() : "not given", " but only ",
             supported, " is supported");
}

void HuggingFaceReader::only_value(const char* key, const Json& supported) const {
  if (has(key)) only(key, json_[key] == supported, supported.dump());
}

void HuggingFaceReader::only_number(const char* key, double supported, double fallback) const {
  const bool equal = std::abs(number(key, fallback) - supported) < 1e-12;
  only(key, equal, Json(supported).dump());
}

double HuggingFaceReader::rope_theta() const {
  double theta = number("rope_theta", 10000.0);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!has(key)) continue;
    const Json& rope = value(key);
    const char* supported = "RoPE without scaling (rope_type default)";
    only(key, rope.is_object(), supported);
    for (const auto& [name, value] : rope.items()) {
      if (name == "rope_theta" && value.is_number()) {
        if (has("rope_theta") && value.get<double>() != theta)
          user_error(source_, ": 'rope_theta' is ", theta, ", and ", value.dump(), " in '", key,
                     "'; take one of them out");
        theta = value.get<double>();
      } else if (name == "rope_type" || name == "type") {
        only(key, value == "default", supported);
      } else if (name == "factor" || name == "partial_rotary_factor") {
        only(key, value.is_null() || value == 1.0, supported);
      } else {
        only(key, value.is_null() || name == "original_max_position_embeddings", supported);
      }
    }
  }
  only_value("partial_rotary_factor", 1.0);
  return theta;
}

void HuggingFaceReader::check_nothing_is_left() const {
  for (const auto& [key, value] : json_.items()) {
    if (value.is_null() || asked_.count(key) != 0 || kHarmless.count(key) != 0 || key.starts_with('_')) continue;
    user_error(source_, ": the key '", key, "' (", value.dump(),
               ") is not known for this model_type and may change what the model computes; take it out of the file if "
               "it does not");
  }
}

void HuggingFaceReader::require(const char* key, bool holds, const char* what) const {
  if (!holds) user_error(source_, ": the key '", key, "' is missing or not ", what);
}

}  // namespace ttt
