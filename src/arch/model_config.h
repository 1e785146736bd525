// The model section of a config: everything that fixes a model's parameters and arithmetic.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ttt {

enum class MixerKind { kAttention, kTttLinear, kTttMlp, kMamba, kGatedDeltaNet };
enum class Backbone { kTransformer, kMamba };
enum class TttFeatureMap { kNone, kElu };  // of queries and keys: themselves, elu(x) + 1
enum class TttTarget { kValue, kInput };   // what the inner net is to give: theta_V x, x itself

const char* to_string(MixerKind mixer);    // "attention", "ttt_linear", "ttt_mlp", "mamba"
const char* to_string(Backbone backbone);  // "transformer", "mamba"

// The mixers of consecutive layers, repeated over the depth: {ttt_linear, ttt_linear, ttt_linear, attention} makes
// every fourth layer attention. One kind is a pattern of length 1.
class MixerPattern {
 public:
  MixerPattern(MixerKind kind) : kinds_{kind} {}                                     // NOLINT: one kind is a pattern
  explicit MixerPattern(std::vector<MixerKind> kinds) : kinds_(std::move(kinds)) {}  // not empty
  const std::vector<MixerKind>& kinds() const { return kinds_; }
  MixerKind of_layer(std::int64_t layer) const { return kinds_[static_cast<std::size_t>(layer) % kinds_.size()]; }
  bool contains(MixerKind kind) const;
  bool is_only(MixerKind kind) const;  // every layer has it
  bool is_hybrid() const { return !is_only(kinds_.front()); }
  bool operator==(const MixerPattern&) const = default;

 private:
  std::vector<MixerKind> kinds_;
};

std::string to_string(const MixerPattern& mixer);  // "ttt_linear", "[ttt_linear, attention]"

// Keys of the YAML section `model:` carry these names.
struct ModelConfig {
  MixerPattern mixer = MixerKind::kTttLinear;
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
  // What the paper's table 1 switches of TTT layers beside backbone and mini_batch_size; see ttt_switches() below.
  TttFeatureMap ttt_feature_map = TttFeatureMap::kNone;
  bool ttt_normalizer = false;  // outputs over the sum of the query's products with the keys so far
  bool ttt_learned_w0 = true;   // else fast weights start at 0
  bool ttt_norm = true;         // LN in f
  bool ttt_residual = true;     // f(x) = x + ..., with which the target is V - K
  bool ttt_bias = true;         // f's layers are x W + b
  bool ttt_learned_lr = true;   // eta = base_lr sigmoid(theta x) / K times 1 / place; else base_lr for every token
  TttTarget ttt_target = TttTarget::kValue;
  std::int64_t ttt_inner_steps = 1;   // gradient steps of a mini-batch (kernels/ttt_update.h)
  std::int64_t head_dim = 0;          // Gated DeltaNet: size of a head's queries and keys; 0: hidden_size / num_heads
  double expand_v = 2;                // Gated DeltaNet: size of a head's values, in head_dims
  std::int64_t attention_window = 0;  // attention sees this many tokens, its own included; 0: all before it
  bool pre_conv = true;  // a causal convolution block before the mixer (the Mamba backbone's default in the presets)
  double rope_theta = 10000.0;
  bool tie_embeddings = true;

  std::int64_t head_size() const { return hidden_size / num_heads; }  // K
  bool has_ttt() const;                                               // whether a layer has an inner loop
  bool has_mlp() const;                      // whether blocks have one: all but those of a model of Mamba alone
  double rms_norm_eps() const;               // of the blocks' norms
  double resolved_ttt_base_lr() const;       // ttt_base_lr with -1 replaced
  double resolved_ttt_base_lr_init() const;  // likewise; equals resolved_ttt_base_lr() when there is no inner warm-up

  bool operator==(const ModelConfig&) const = default;
};

// The switches of TTT layers that stand otherwise than in the published layers, "model.ttt_norm false, ..."; "" for none.
std::string ttt_switches(const ModelConfig& config);

// Whether a model of this config has any use for the key "model.KEY": one of its mixers names it, or it is no mixer's.
bool uses_key(const ModelConfig& config, const std::string& key);

// Cross-field rules (hidden_size divisible by num_heads, even head size, ...). Throws UserError with a sentence that
// names the keys and the remedy.
void validate(const ModelConfig& config);
// A rule of mixers with heads of hidden_size / num_heads, which RoPE rotates.
void check_heads_divide_width(const ModelConfig& config);

}  // namespace ttt
