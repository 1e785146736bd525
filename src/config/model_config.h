// The model section of a config: everything that fixes a model's parameters and arithmetic.
#pragma once

#include <cstdint>
#include <string>

namespace ttt {

enum class MixerKind { kAttention, kTttLinear, kTttMlp, kMamba };
enum class Backbone { kTransformer, kMamba };

const char* to_string(MixerKind mixer);    // "attention", "ttt_linear", "ttt_mlp", "mamba"
const char* to_string(Backbone backbone);  // "transformer", "mamba"

// Keys of the YAML section `model:` carry these names.
struct ModelConfig {
  MixerKind mixer = MixerKind::kTttLinear;
  // TTT mixers only: with gate, shared QK and short convolutions (mamba), or without (transformer).
  Backbone backbone = Backbone::kMamba;
  std::int64_t vocab_size = 32000;
  std::int64_t hidden_size = 768;
  std::int64_t num_layers = 12;
  std::int64_t num_heads = 12;
  std::int64_t intermediate_size = 2048;  // SwiGLU's hidden width
  std::int64_t mini_batch_size = 16;      // tokens of one inner-loop step
  double ttt_base_lr = -1;                // eta_base; -1: the paper's, 1.0 (TTT-Linear) or 0.1 (TTT-MLP)
  // eta_base at the first step of the inner warm-up; -1: the paper's, no warm-up (TTT-Linear) or 0.01 (TTT-MLP).
  double ttt_base_lr_init = -1;
  std::int64_t ttt_base_lr_warmup_steps = -1;  // -1: the outer warm-up's
  bool pre_conv = true;  // a causal convolution block before the mixer (the Mamba backbone's default in the presets)
  double rope_theta = 10000.0;
  bool tie_embeddings = true;

  std::int64_t head_dim() const { return hidden_size / num_heads; }
  bool is_ttt() const { return mixer == MixerKind::kTttLinear || mixer == MixerKind::kTttMlp; }
  double resolved_ttt_base_lr() const;       // ttt_base_lr with -1 replaced
  double resolved_ttt_base_lr_init() const;  // likewise; equals resolved_ttt_base_lr() when there is no inner warm-up

  bool operator==(const ModelConfig&) const = default;
};

// Cross-field rules (hidden_size divisible by num_heads, even head size, ...). Throws UserError with a sentence that
// names the keys and the remedy.
void validate(const ModelConfig& config);

}  // namespace ttt
