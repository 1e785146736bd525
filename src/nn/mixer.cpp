#include "nn/mixer.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "base/error.h"
#include "nn/mixer/attention.h"
#include "nn/mixer/mamba.h"
#include "nn/mixer/ttt.h"

namespace ttt {

std::shared_ptr<SequenceMixer> make_mixer(const ModelConfig& config, std::int64_t layer) {
  switch (config.mixer.of_layer(layer)) {
    case MixerKind::kAttention:
      return std::make_shared<AttentionMixer>(config);
    case MixerKind::kTttLinear:
      return std::make_shared<TttMixer>(config, TttKind::kLinear);
    case MixerKind::kTttMlp:
      return std::make_shared<TttMixer>(config, TttKind::kMlp);
    case MixerKind::kMamba:
      return std::make_shared<MambaMixer>(config);
  }
  fail("a mixer that make_mixer does not know");
}

}  // namespace ttt
