// What a mixer is, declared once and without a tensor: its parameters, its costs, its config keys, its place in
// checkpoints. One file in arch/mixer/ for each; nn/mixer/ has the modules that compute.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arch/hugging_face_reader.h"
#include "arch/model_config.h"
#include "arch/parameter.h"
#include "base/json.h"

namespace ttt {

// Numbers per token that a layer keeps for its backward pass: activations, which are bf16 where the model computes in
// it, and what stays fp32 (the residual stream, the inner loops', the scan's); and fp32 numbers that its backward pass
// holds on top while it runs, which one layer at a time does.
struct Kept {
  double activations = 0, wide = 0;
  double transient = 0;
};

// How Hugging Face's (or the authors') files name a model in which every layer has this mixer.
struct FileForm {
  const char* model_type;                                 // of config.json
  const char* architecture;                               // of its list `architectures`
  const char* root = "model.";                            // before every name but the head's
  const char* embedding = "embed_tokens.weight";          // below it
  const char* final_norm = "norm.weight";                 // below it
  const char* hidden_act = "silu";                        // how they call SwiGLU's activation
  bool tied_where_not_given = true;                       // tie_word_embeddings
  const char *variant_key = nullptr, *variant = nullptr;  // the key that tells mixers of one model_type apart, its word
};

// intermediate_size, num_attention_heads, rms_norm_eps and rope_theta.
void write_llama_sizes(const ModelConfig& m, Json& json);
void read_llama_sizes(const HuggingFaceReader& in, ModelConfig& m);

class MixerDeclaration {
 public:
  MixerDeclaration(MixerKind kind, const char* name, const FileForm& form) : kind_(kind), name_(name), form_(form) {}
  virtual ~MixerDeclaration() = default;

  MixerKind kind() const { return kind_; }
  const char* name() const { return name_; }  // in configs: "ttt_linear"
  const FileForm& form() const { return form_; }

  // --- parameters ---
  // Of one layer; names as the mixer's module registers them, file names below the mixer's part of a block.
  virtual Parameters parameters(const ModelConfig& m) const = 0;
  virtual const char* file_prefix() const = 0;                             // "self_attn."
  virtual const char* mixer_norm_file_name() const = 0;                    // "input_layernorm.weight"
  virtual const char* mlp_norm_file_name() const = 0;                      // "post_attention_layernorm.weight"
  virtual bool is_in_jax() const { return false; }                         // whether the official JAX code has it
  virtual std::string not_in_jax(const ModelConfig&) const { return ""; }  // settings that it has not got
  virtual bool has_mlp_alone() const { return true; }                      // in a model of this mixer alone
  virtual double norm_eps_alone() const { return 1e-6; }                   // of its RMSNorms, there
  // --- the section model: of a config ---
  virtual std::vector<const char*> keys() const = 0;     // those it has a use for, "model.num_heads"
  virtual void check(const ModelConfig&) const {}        // throws UserError
  virtual void resolve(ModelConfig&) const {}            // defaults that depend on other keys
  virtual bool has_inner_loop() const { return false; }  // a TTT layer
  // The paper's eta_base of its inner loop, and where its warm-up starts; nothing: no warm-up.
  virtual double paper_base_lr() const { return 0; }
  virtual std::optional<double> paper_base_lr_init() const { return std::nullopt; }
  // Whether tokens beyond the training's context are at positions that it has never seen.
  virtual bool is_bound_by_context(const ModelConfig&) const { return false; }
  // --- costs, per token and layer ---
  // Operations beside dense layers and convolutions, forward; `keys`: that a token sees on average.
  virtual double op_flops(const ModelConfig& m, double keys) const = 0;
  virtual double recomputed_flops(const ModelConfig&) const { return 0; }  // of them, once more in the backward pass
  virtual double softmax_flops(const ModelConfig&, double /*keys*/) const { return 0; }  // counted by Chinchilla alone
  virtual double inner_loop_flops(std::int64_t /*head_size*/, std::int64_t /*mini_batch*/,
                                  std::int64_t /*steps*/) const {
    return 0;
  }
  virtual Kept kept(const ModelConfig& m) const = 0;
  // fp32 numbers of a sequence's decoding state after `position` tokens, and those of them that are the recurrence's.
  virtual std::int64_t state_numbers(const ModelConfig& m, std::int64_t position) const = 0;
  virtual std::int64_t recurrent_numbers(const ModelConfig&) const { return 0; }
  // --- config.json ---
  // Sizes under the names of this mixer's form (a model of it alone), or Llama's (hybrids).
  virtual void write_sizes(const ModelConfig& m, Json& json) const { write_llama_sizes(m, json); }
  virtual void read_sizes(const HuggingFaceReader& in, ModelConfig& m) const { read_llama_sizes(in, m); }
  virtual void write_keys(const ModelConfig& m, Json& json) const = 0;  // what this mixer adds
  virtual void read_keys(const HuggingFaceReader& in, ModelConfig& m) const = 0;
  // Whether `form` can say all of a model of this mixer alone; else its model_type is ttt_cpp.
  virtual bool is_said_by_form(const ModelConfig& m) const { return !m.pre_conv; }
  virtual bool says_pre_conv() const { return false; }  // its form has the key pre_conv

 private:
  MixerKind kind_;
  const char* name_;
  FileForm form_;
};

// In the order of the enumeration.
const std::vector<const MixerDeclaration*>& all_mixers();
const MixerDeclaration& declaration_of(MixerKind kind);
// The mixer of every layer, or null in a hybrid.
const MixerDeclaration* only_mixer(const ModelConfig& m);
// "attention, ttt_linear, ttt_mlp"
std::string mixer_names(const char* separator);

}  // namespace ttt
