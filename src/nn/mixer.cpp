#include "nn/mixer.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "base/error.h"
#include "nn/mixer/attention.h"
#include "nn/mixer/ttt.h"

namespace ttt {

std::shared_ptr<SequenceMixer> make_mixer(const ModelConfig& config) {
  switch (config.mixer) {
    case MixerKind::kAttention:
      return std::make_shared<AttentionMixer>(config);
    case MixerKind::kTttLinear:
    case MixerKind::kTttMlp:
      return std::make_shared<TttMixer>(config);
    case MixerKind::kMamba:
      break;
  }
  user_error("model.mixer: mamba is not built into this version yet; choose attention, ttt_linear or ttt_mlp");
}

}  // namespace ttt
