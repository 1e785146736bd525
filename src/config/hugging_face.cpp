// config.json in the form of a mixer's own architecture (arch/mixer.h), where one mixer is all and the form can say it;
// what none of them has (hybrids, attention windows, pre_conv elsewhere) is model_type ttt_cpp, with the keys of all
// and `mixer`, the list of layers.
#include "config/hugging_face.h"

#include <algorithm>

#include "arch/hugging_face_reader.h"
#include "arch/mixer.h"
#include "base/error.h"
#include "config/fields.h"

namespace ttt {
namespace {

constexpr const char* kOwnType = "ttt_cpp";
constexpr const char* kOwnArchitecture = "TttCppForCausalLM";

// The mixers of a model, each once.
std::vector<const MixerDeclaration*> mixers_of(const ModelConfig& config) {
  std::vector<const MixerDeclaration*> mixers;
  for (const MixerDeclaration* mixer : all_mixers())
    if (config.mixer.contains(mixer->kind())) mixers.push_back(mixer);
  return mixers;
}

// Whose form config.json has; null: ttt_cpp's.
const MixerDeclaration* form_of(const ModelConfig& config) {
  const MixerDeclaration* only = only_mixer(config);
  return only != nullptr && only->is_said_by_form(config) ? only : nullptr;
}

// The list of layers of a ttt_cpp model. Without the key (files of version 0.1): attention.
MixerPattern read_pattern(const HuggingFaceReader& in) {
  if (!in.has("mixer")) return MixerKind::kAttention;
  const Json& names = in.value("mixer");
  std::vector<MixerKind> kinds;
  if (names.is_array()) {
    for (const Json& name : names) {
      for (const MixerDeclaration* mixer : all_mixers())
        if (name == mixer->name()) kinds.push_back(mixer->kind());
    }
  }
  if (kinds.empty() || kinds.size() != names.size())
    user_error(in.source(), ": 'mixer' must be a list of ", mixer_names(", "));
  return MixerPattern(kinds);
}

// The mixer of a model_type; null: ttt_cpp.
const MixerDeclaration* read_form(const HuggingFaceReader& in) {
  const std::string type = in.text("model_type", "");
  if (type == kOwnType) return nullptr;
  std::string types, variants;
  const char* variant_key = nullptr;
  for (const MixerDeclaration* mixer : all_mixers()) {
    const FileForm& form = mixer->form();
    if (types.find(form.model_type) == std::string::npos) types += cat(form.model_type, ", ");
    if (type != form.model_type) continue;
    if (form.variant_key == nullptr) return mixer;
    // Without the key: the first one of the type.
    if (in.text(form.variant_key, variants.empty() ? form.variant : "") == form.variant) return mixer;
    variant_key = form.variant_key;
    variants += cat(variants.empty() ? "" : " or ", form.variant);
  }
  if (variant_key != nullptr) in.only(variant_key, false, variants);
  user_error(in.source(), ": model_type '", type, "' is not supported; ", types.substr(0, types.size() - 2), " and ",
             kOwnType, " are");
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
  const MixerDeclaration* form = form_of(config);
  const MixerDeclaration* only = only_mixer(config);
  Json json;
  json["model_type"] = form != nullptr ? form->form().model_type : kOwnType;
  json["architectures"] = {form != nullptr ? form->form().architecture : kOwnArchitecture};
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["num_hidden_layers"] = config.num_layers;
  if (only != nullptr) {
    only->write_sizes(config, json);
  } else {
    write_llama_sizes(config, json);
  }
  json["hidden_act"] = form != nullptr ? form->form().hidden_act : "silu";
  json["tie_word_embeddings"] = config.tie_embeddings;
  json["initializer_range"] = 0.02;
  json["torch_dtype"] = "float32";
  if (generation.max_position_embeddings > 0) json["max_position_embeddings"] = generation.max_position_embeddings;
  json["bos_token_id"] =
      generation.bos_token_id;  // null, too: what is not given, each architecture takes for another id
  json["eos_token_id"] = generation.eos_token_id;
  json["pad_token_id"] = generation.pad_token_id;
  if (form != nullptr && form->form().variant_key != nullptr) json[form->form().variant_key] = form->form().variant;
  // In an order of old: inner loops' keys first.
  for (const bool inner_loop : {true, false}) {
    for (const MixerDeclaration* mixer : mixers_of(config)) {
      if (mixer->has_inner_loop() != inner_loop) continue;
      mixer->write_keys(config, json);
      if (inner_loop) break;  // all TTT layers have the same
    }
  }
  if (form == nullptr || form->says_pre_conv()) json["pre_conv"] = config.pre_conv;
  if (form == nullptr) {
    for (const MixerKind kind : config.mixer.kinds()) json["mixer"].push_back(to_string(kind));
    json["attention_window"] = config.attention_window;
  }
  return json;
}

ModelConfig model_config_from_hugging_face(const Json& json, const std::string& source) {
  const HuggingFaceReader in(json, source);
  ModelConfig config;
  const MixerDeclaration* form = read_form(in);
  config.mixer = form != nullptr ? MixerPattern(form->kind()) : read_pattern(in);
  config.vocab_size = in.positive("vocab_size");
  config.hidden_size = in.positive("hidden_size");
  config.num_layers = in.positive("num_hidden_layers");
  const MixerDeclaration* only = only_mixer(config);
  if (only != nullptr) {
    only->read_sizes(in, config);
  } else {
    read_llama_sizes(in, config);
  }
  if (!config.has_ttt()) config.backbone = Backbone::kTransformer;
  config.pre_conv = in.boolean("pre_conv", false);
  config.tie_embeddings = in.boolean("tie_word_embeddings", form == nullptr || form->form().tied_where_not_given);
  if (in.has("attention_window")) config.attention_window = in.integer("attention_window");
  const std::string act = form != nullptr ? form->form().hidden_act : "silu";
  in.only("hidden_act", in.text("hidden_act", act) == act, act);
  for (const MixerDeclaration* mixer : mixers_of(config)) mixer->read_keys(in, config);
  in.only_value("is_encoder_decoder", false);
  in.only_value("add_cross_attention", false);
  in.only_value("pruned_heads", Json::object());
  in.only("quantization_config", !in.has("quantization_config"), "a model that is not quantized");
  in.check_nothing_is_left();
  try {
    for (const Field& field : fields_of(config)) field.set(field.get());  // checks the bounds that a YAML config has
    validate(config);
  } catch (const UserError& error) {
    user_error(source, ": ", error.what());
  }
  return config;
}

}  // namespace ttt
