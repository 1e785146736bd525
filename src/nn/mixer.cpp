#include "nn/mixer.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "arch/mixer/gated_deltanet.h"
#include "base/error.h"
#include "nn/mixer/attention.h"
#include "nn/mixer/gated_deltanet.h"
#include "nn/mixer/mamba.h"
#include "nn/mixer/ttt.h"

namespace ttt {

std::shared_ptr<SequenceMixer> make_mixer(const ModelConfig& config, std::int64_t layer) {
  switch (config.mixer.of_layer(layer)) {
    case MixerKind::kAttention:
      return std::make_shared<AttentionMixer>(config);
    case MixerKind::kTttLinear:
      return std::make_shared<TttMixer>(config, ttt_linear_net());
    case MixerKind::kTttMlp:
      return std::make_shared<TttMixer>(config, ttt_mlp_net());
    case MixerKind::kMamba:
      return std::make_shared<MambaMixer>(config);
    case MixerKind::kGatedDeltaNet:
      return std::make_shared<GatedDeltaMixer>(GatedDeltaConfig{.hidden_size = config.hidden_size,
                                                                .num_heads = config.num_heads,
                                                                .head_dim = deltanet_key_dim(config),
                                                                .value_dim = deltanet_value_dim(config)});
  }
  fail("a mixer that make_mixer does not know");
}

}  // namespace ttt
