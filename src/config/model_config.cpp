// Names, derived values and cross-field rules of the model section.
#include "config/model_config.h"

#include <algorithm>

#include "base/error.h"

namespace ttt {

const char* to_string(MixerKind mixer) {
  switch (mixer) {
    case MixerKind::kAttention:
      return "attention";
    case MixerKind::kTttLinear:
      return "ttt_linear";
    case MixerKind::kTttMlp:
      return "ttt_mlp";
    case MixerKind::kMamba:
      return "mamba";
  }
  return "?";
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

double ModelConfig::resolved_ttt_base_lr() const {
  if (ttt_base_lr >= 0) return ttt_base_lr;
  return mixer.contains(MixerKind::kTttMlp) ? 0.1 : 1.0;
}

double ModelConfig::resolved_ttt_base_lr_init() const {
  if (ttt_base_lr_init >= 0) return ttt_base_lr_init;
  return mixer.contains(MixerKind::kTttMlp) ? 0.01 : resolved_ttt_base_lr();
}

bool uses_key(const ModelConfig& config, const std::string& key) {
  if (key == "model.backbone" || key == "model.mini_batch_size" || key.starts_with("model.ttt_"))
    return config.has_ttt();
  if (key == "model.num_heads" || key == "model.intermediate_size" || key == "model.rope_theta")
    return !config.is_pure_mamba();
  if (key == "model.attention_window") return config.mixer.contains(MixerKind::kAttention);
  return true;
}

void validate(const ModelConfig& config) {
  const auto pattern = static_cast<std::int64_t>(config.mixer.kinds().size());
  if (pattern > config.num_layers) {
    user_error("model.mixer lists ", pattern, " layers and model.num_layers is ", config.num_layers,
               "; shorten the list or add layers");
  }
  if (config.mixer.contains(MixerKind::kTttLinear) && config.mixer.contains(MixerKind::kTttMlp) &&
      (config.ttt_base_lr < 0 || config.ttt_base_lr_init < 0)) {
    user_error(
        "model.mixer has ttt_linear and ttt_mlp layers, whose inner learning rates the paper sets differently; give "
        "model.ttt_base_lr and model.ttt_base_lr_init, which hold for both");
  }
  if (config.attention_window > 0 && !config.mixer.contains(MixerKind::kAttention)) {
    user_error("model.attention_window is ", config.attention_window, " but model.mixer ", to_string(config.mixer),
               " has no attention layer; leave it out");
  }
  if (config.is_pure_mamba()) return;  // has no heads
  const std::int64_t heads = config.num_heads;
  if (config.hidden_size % heads != 0) {
    const std::int64_t below = config.hidden_size / heads * heads;
    user_error("model.hidden_size ", config.hidden_size, " is not a multiple of model.num_heads ", heads, "; use ",
               below > 0 ? cat("a width of ", below, " or ", below + heads) : cat("a width of ", heads),
               ", or another number of heads");
  }
  if (config.head_dim() % 2 != 0) {
    user_error("model.hidden_size / model.num_heads is ", config.head_dim(),
               ", but RoPE rotates pairs and needs an even head size; change one of the two");
  }
  if (config.has_ttt() && config.resolved_ttt_base_lr() == 0.0) {
    user_error(
        "model.ttt_base_lr is 0, with which the inner loop never learns; give a positive one, or leave the key out for "
        "the paper's");
  }
}

}  // namespace ttt
