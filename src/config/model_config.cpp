// Names, derived values and cross-field rules of the model section.
#include "config/model_config.h"

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

double ModelConfig::resolved_ttt_base_lr() const {
  if (ttt_base_lr >= 0) return ttt_base_lr;
  return mixer == MixerKind::kTttMlp ? 0.1 : 1.0;
}

double ModelConfig::resolved_ttt_base_lr_init() const {
  if (ttt_base_lr_init >= 0) return ttt_base_lr_init;
  return mixer == MixerKind::kTttMlp ? 0.01 : resolved_ttt_base_lr();
}

void validate(const ModelConfig& config) {
  if (config.mixer == MixerKind::kMamba) {
    user_error(
        "model.mixer 'mamba' comes in a later version; use attention, ttt_linear or ttt_mlp ('model.backbone: mamba' "
        "works with these)");
  }
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
  if (config.is_ttt() && config.resolved_ttt_base_lr() == 0.0) {
    user_error(
        "model.ttt_base_lr is 0, with which the inner loop never learns; give a positive one, or leave the key out for "
        "the paper's");
  }
}

}  // namespace ttt
