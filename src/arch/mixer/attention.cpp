// Causal softmax attention, as Hugging Face's LlamaForCausalLM has it. The module: nn/mixer/attention.h.
#include <algorithm>

#include "arch/mixer.h"

namespace ttt {
namespace {

class Attention : public MixerDeclaration {
 public:
  Attention()
      : MixerDeclaration(MixerKind::kAttention, "attention",
                         {.model_type = "llama", .architecture = "LlamaForCausalLM", .tied_where_not_given = false}) {}

  Parameters parameters(const ModelConfig& m) const override {
    const auto D = m.hidden_size;
    return {dense("q_proj", D, D).rotary(m.num_heads).in_jax("wq/kernel"),
            dense("k_proj", D, D).rotary(m.num_heads).in_jax("wk/kernel"), dense("v_proj", D, D).in_jax("wv/kernel"),
            dense("o_proj", D, D).in_jax("wo/kernel")};
  }
  const char* file_prefix() const override { return "self_attn."; }
  const char* mixer_norm_file_name() const override { return "input_layernorm.weight"; }
  const char* mlp_norm_file_name() const override { return "post_attention_layernorm.weight"; }
  bool is_in_jax() const override { return true; }

  std::vector<const char*> keys() const override {
    return {"model.num_heads", "model.rope_theta", "model.attention_window"};
  }
  void check(const ModelConfig& m) const override { check_heads_divide_width(m); }
  bool is_bound_by_context(const ModelConfig& m) const override { return m.attention_window == 0; }

  // Scores and their products with the values.
  double op_flops(const ModelConfig& m, double keys) const override {
    return 2 * 2 * static_cast<double>(m.hidden_size) * keys;
  }
  double softmax_flops(const ModelConfig& m, double keys) const override {
    return 3 * static_cast<double>(m.num_heads) * keys;
  }
  Kept kept(const ModelConfig& m) const override {
    const auto D = static_cast<double>(m.hidden_size);
    return {6 * D, D};
  }
  // Keys and values.
  std::int64_t state_numbers(const ModelConfig& m, std::int64_t position) const override {
    return 2 * m.hidden_size * (m.attention_window > 0 ? std::min(position, m.attention_window) : position);
  }

  void write_keys(const ModelConfig& m, Json& json) const override {
    json["num_key_value_heads"] = m.num_heads;
    json["head_dim"] = m.head_size();
    json["attention_bias"] = false;
    json["mlp_bias"] = false;
  }
  void read_keys(const HuggingFaceReader& in, ModelConfig& m) const override {
    if (in.has("num_key_value_heads"))
      in.only("num_key_value_heads", in.integer("num_key_value_heads") == m.num_heads, "one key head for each head");
    if (in.has("head_dim"))
      in.only("head_dim", in.integer("head_dim") * m.num_heads == m.hidden_size, "hidden_size / heads");
    in.only("attention_bias", !in.boolean("attention_bias", false), "false");
    in.only("mlp_bias", !in.boolean("mlp_bias", false), "false");
    in.only("sliding_window", !in.has("sliding_window"), "null");
    in.only_value("use_sliding_window", false);
    if (!in.has("layer_types")) return;
    const Json& types = in.value("layer_types");
    in.only("layer_types",
            std::all_of(types.begin(), types.end(), [](const Json& type) { return type == "full_attention"; }),
            "full_attention for every layer");
  }
  bool is_said_by_form(const ModelConfig& m) const override { return !m.pre_conv && m.attention_window == 0; }
};

}  // namespace

const MixerDeclaration& attention_declaration() {
  static const Attention attention;
  return attention;
}

}  // namespace ttt
