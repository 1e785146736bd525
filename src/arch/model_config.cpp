// Names, derived values and cross-field rules of the model section.
#include "arch/model_config.h"

#include <algorithm>

#include "arch/mixer.h"
#include "base/error.h"

namespace ttt {
namespace {

template <class Holds>
bool any_mixer(const ModelConfig& config, Holds&& holds) {
  const auto& kinds = config.mixer.kinds();
  return std::any_of(kinds.begin(), kinds.end(), [&](MixerKind kind) { return holds(declaration_of(kind)); });
}

}  // namespace

const char* to_string(MixerKind mixer) {
  return declaration_of(mixer).name();
}

const char* to_string(Backbone backbone) {
  return backbone == Backbone::kTransformer ? "transformer" : "mamba";
}

bool MixerPattern::contains(MixerKind kind) const {
  return std::find(kinds_.begin(), kinds_.end(), kind) != kinds_.end();
}

bool MixerPattern::is_only(MixerKind kind) const {
  return std::all_of(kinds_.begin(), kinds_.end(), [&](MixerKind own) { return own == kind; });
}

std::string to_string(const MixerPattern& mixer) {
  if (mixer.kinds().size() == 1) return to_string(mixer.kinds().front());
  std::string text;
  for (const MixerKind kind : mixer.kinds()) text += cat(text.empty() ? "" : ", ", to_string(kind));
  return cat("[", text, "]");
}

bool ModelConfig::has_ttt() const {
  return any_mixer(*this, [](const MixerDeclaration& own) { return own.has_inner_loop(); });
}

bool ModelConfig::has_mlp() const {
  const MixerDeclaration* only = only_mixer(*this);
  return only == nullptr || only->has_mlp_alone();
}

double ModelConfig::rms_norm_eps() const {
  const MixerDeclaration* only = only_mixer(*this);
  return only == nullptr ? 1e-6 : only->norm_eps_alone();
}

double ModelConfig::resolved_ttt_base_lr() const {
  if (ttt_base_lr >= 0) return ttt_base_lr;
  double rate = 1.0;
  for (const MixerKind kind : mixer.kinds())
    if (declaration_of(kind).has_inner_loop()) rate = std::min(rate, declaration_of(kind).paper_base_lr());
  return rate;
}

double ModelConfig::resolved_ttt_base_lr_init() const {
  if (ttt_base_lr_init >= 0) return ttt_base_lr_init;
  for (const MixerKind kind : mixer.kinds())
    if (const auto init = declaration_of(kind).paper_base_lr_init()) return *init;
  return resolved_ttt_base_lr();
}

std::string ttt_switches(const ModelConfig& m) {
  std::string text;
  const auto add = [&](bool differs, const char* key, const auto& value) {
    if (differs) text += cat(text.empty() ? "" : ", ", "model.", key, " ", value);
  };
  add(m.ttt_feature_map == TttFeatureMap::kElu, "ttt_feature_map", "elu");
  add(m.ttt_normalizer, "ttt_normalizer", "true");
  add(!m.ttt_learned_w0, "ttt_learned_w0", "false");
  add(!m.ttt_norm, "ttt_norm", "false");
  add(!m.ttt_residual, "ttt_residual", "false");
  add(!m.ttt_bias, "ttt_bias", "false");
  add(!m.ttt_learned_lr, "ttt_learned_lr", "false");
  add(m.ttt_target == TttTarget::kInput, "ttt_target", "input");
  add(m.ttt_inner_steps != 1, "ttt_inner_steps", m.ttt_inner_steps);
  return text;
}

bool uses_key(const ModelConfig& config, const std::string& key) {
  if (key == "model.intermediate_size") return config.has_mlp();
  const auto names = [&](const MixerDeclaration& mixer) {
    const std::vector<const char*> keys = mixer.keys();
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  const auto& all = all_mixers();
  const bool is_of_mixers = std::any_of(all.begin(), all.end(), [&](const auto* mixer) { return names(*mixer); });
  return !is_of_mixers || any_mixer(config, names);
}

void validate(const ModelConfig& config) {
  const auto pattern = static_cast<std::int64_t>(config.mixer.kinds().size());
  if (pattern > config.num_layers) {
    user_error("model.mixer lists ", pattern, " layers and model.num_layers is ", config.num_layers,
               "; shorten the list or add layers");
  }
  if (config.attention_window > 0 && !uses_key(config, "model.attention_window")) {
    user_error("model.attention_window is ", config.attention_window, " but model.mixer ", to_string(config.mixer),
               " has no attention layer; leave it out");
  }
  if (config.head_dim > 0 && !uses_key(config, "model.head_dim")) {
    user_error("model.head_dim is ", config.head_dim, ", and the heads of model.mixer ", to_string(config.mixer),
               " are of model.hidden_size / model.num_heads; leave it out");
  }
  if (const std::string switches = ttt_switches(config); !switches.empty() && !config.has_ttt()) {
    user_error("the config says ", switches, ", and model.mixer ", to_string(config.mixer),
               " has no TTT layer; leave it out");
  }
  for (const MixerKind kind : config.mixer.kinds()) declaration_of(kind).check(config);
}

void check_heads_divide_width(const ModelConfig& config) {
  const std::int64_t heads = config.num_heads;
  if (config.hidden_size % heads != 0) {
    const std::int64_t below = config.hidden_size / heads * heads;
    user_error("model.hidden_size ", config.hidden_size, " is not a multiple of model.num_heads ", heads, "; use ",
               below > 0 ? cat("a width of ", below, " or ", below + heads) : cat("a width of ", heads),
               ", or another number of heads");
  }
  if (config.head_size() % 2 != 0) {
    user_error("model.hidden_size / model.num_heads is ", config.head_size(),
               ", but RoPE rotates pairs and needs an even head size; change one of the two");
  }
}

}  // namespace ttt
