// TTT-Linear and TTT-MLP (arXiv 2407.04620), as the official PyTorch code (ttt-lm-pytorch) names their parts. The
// module: nn/mixer/ttt.h.
#include "arch/mixer.h"
#include "base/error.h"

namespace ttt {
namespace {

// What the two share; they differ in the inner net.
class Ttt : public MixerDeclaration {
 public:
  Ttt(MixerKind kind, const char* name, const char* variant)
      : MixerDeclaration(kind, name,
                         {.model_type = "ttt",
                          .architecture = "TTTForCausalLM",
                          .variant_key = "ttt_layer_type",
                          .variant = variant}) {}

  Parameters parameters(const ModelConfig& m) const override {
    const auto D = m.hidden_size, H = m.num_heads, K = m.head_size();
    const auto zeros = [](const char* name, std::vector<std::int64_t> shape) {
      return other(name, std::move(shape), {Init::Kind::kZeros}, Decay::kVector);
    };
    const auto ones = [](const char* name, std::vector<std::int64_t> shape) {
      return other(name, std::move(shape), {Init::Kind::kOnes}, Decay::kVector);
    };
    Parameters all = {dense("q_proj", D, D).in_jax("wq/kernel")};
    if (m.ttt_target == TttTarget::kValue) all.push_back(dense("v_proj", D, D).in_jax("wv/kernel"));
    all.push_back(dense("o_proj", D, D).in_jax("wo/kernel"));
    all.push_back(ones("post_norm.weight", {D}).in_jax("post_norm/scale"));
    all.push_back(zeros("post_norm.bias", {D}).in_jax("post_norm/bias"));
    if (m.ttt_norm) {
      all.push_back(ones("ttt_norm_weight", {H, K}).in_jax("ttt_norm/scale"));
      all.push_back(zeros("ttt_norm_bias", {H, K}).in_jax("ttt_norm/bias"));
    }
    if (m.ttt_learned_lr) {
      all.push_back(other("lr_weight", {H, 1, D}, {Init::Kind::kNormal, kProjectionStd}, Decay::kMatrix, Role::kDense)
                        .in_file("learnable_ttt_lr_weight")
                        .in_jax("learnable_ttt_lr/kernel"));
      all.push_back(zeros("lr_bias", {H, 1}).in_file("learnable_ttt_lr_bias").in_jax("learnable_ttt_lr/bias"));
      all.push_back(
          zeros("token_scale_delta", {m.mini_batch_size}).in_file("learnable_token_idx").in_jax("learnable_token_idx"));
    }
    if (m.ttt_learned_w0) {
      for (Parameter& weight : fast_weights(H, K))
        if (m.ttt_bias || !is_bias(weight)) all.push_back(std::move(weight));
    }
    if (m.backbone == Backbone::kTransformer) {
      all.push_back(dense("k_proj", D, D).in_jax("wk/kernel"));
    } else {
      all.push_back(dense("gate_proj", D, D).in_file("g_proj.weight").in_jax("wg/kernel"));
      all.push_back(convolution("conv_q", D).in_jax("conv_q/kernel"));
      all.push_back(convolution_bias("conv_q", D).in_jax("conv_q/bias"));
      all.push_back(convolution("conv_k", D).in_jax("conv_k/kernel"));
      all.push_back(convolution_bias("conv_k", D).in_jax("conv_k/bias"));
    }
    return all;
  }
  const char* file_prefix() const override { return "seq_modeling_block."; }
  const char* mixer_norm_file_name() const override { return "seq_norm.weight"; }
  const char* mlp_norm_file_name() const override { return "ffn_norm.weight"; }
  bool is_in_jax() const override { return true; }
  std::string not_in_jax(const ModelConfig& m) const override { return ttt_switches(m); }

  std::vector<const char*> keys() const override {
    return {"model.backbone",       "model.num_heads",        "model.mini_batch_size",
            "model.ttt_base_lr",    "model.ttt_base_lr_init", "model.ttt_base_lr_warmup_steps",
            "model.rope_theta",     "model.ttt_feature_map",  "model.ttt_normalizer",
            "model.ttt_learned_w0", "model.ttt_norm",         "model.ttt_residual",
            "model.ttt_bias",       "model.ttt_learned_lr",   "model.ttt_target",
            "model.ttt_inner_steps"};
  }
  bool has_inner_loop() const override { return true; }
  void check(const ModelConfig& m) const override {
    check_heads_divide_width(m);
    for (const MixerKind other_kind : m.mixer.kinds()) {
      if (!declaration_of(other_kind).has_inner_loop() || other_kind == kind()) continue;
      if (m.ttt_base_lr >= 0 && m.ttt_base_lr_init >= 0) continue;
      user_error(
          "model.mixer has ttt_linear and ttt_mlp layers, whose inner learning rates the paper sets differently; give "
          "model.ttt_base_lr and model.ttt_base_lr_init, which hold for both");
    }
    if (m.resolved_ttt_base_lr() == 0.0) {
      user_error(
          "model.ttt_base_lr is 0, with which the inner loop never learns; give a positive one, or leave the key out "
          "for the paper's");
    }
    if (m.ttt_normalizer && (m.ttt_feature_map == TttFeatureMap::kNone || m.ttt_norm || m.ttt_residual)) {
      user_error(
          "model.ttt_normalizer divides what a linear f gives by a sum over positive keys; give model.ttt_feature_map: "
          "elu, model.ttt_norm: false and model.ttt_residual: false with it");
    }
    if (m.ttt_normalizer && m.ttt_bias) {
      user_error(
          "model.ttt_normalizer divides what a linear f gives by a sum over positive keys, and with model.ttt_bias a "
          "part of f depends on no key; give model.ttt_bias: false with it");
    }
  }

  double op_flops(const ModelConfig& m, double) const override {
    const auto H = static_cast<double>(m.num_heads), K = static_cast<double>(m.head_size());
    const double loop = inner_loop_flops(m.head_size(), m.mini_batch_size, m.ttt_inner_steps);
    return H * (m.ttt_normalizer ? loop + 2 * K : loop);
  }
  double recomputed_flops(const ModelConfig& m) const override { return op_flops(m, 0); }
  // Wide: the residual, Q, K, V and O; what the feature map gets of Q and K; the normaliser's sums of keys and what it
  // divides.
  Kept kept(const ModelConfig& m) const override {
    const auto D = static_cast<double>(m.hidden_size);
    const double mapped = m.ttt_feature_map == TttFeatureMap::kElu ? 2 * D : 0,
                 normalised = m.ttt_normalizer ? 2 * D : 0;
    return {.activations = (m.backbone == Backbone::kMamba ? 4 : 2) * D,
            .wide = kept_for_backward(m) + 5 * D + mapped + normalised,
            .transient = m.ttt_inner_steps > 1 ? held_in_backward(m) : 0};
  }
  // W and b (zeros where f has none), and the open mini-batch's rows of each step and sigma; the convolutions' window;
  // the normaliser's sum of keys.
  std::int64_t state_numbers(const ModelConfig& m, std::int64_t) const override {
    const auto H = m.num_heads, C = m.mini_batch_size;
    const std::int64_t window = m.backbone == Backbone::kMamba ? (kConvTaps - 1) * m.hidden_size : 0;
    const std::int64_t key_sum = m.ttt_normalizer ? m.hidden_size : 0;
    return recurrent_numbers(m) + H * C * (m.ttt_inner_steps * open_row_numbers(m.head_size()) + 1) + window + key_sum;
  }
  std::int64_t recurrent_numbers(const ModelConfig& m) const override {
    std::int64_t numbers = 0;
    for (const Parameter& weight : fast_weights(m.num_heads, m.head_size())) numbers += weight.numel();
    return numbers;
  }

  void write_keys(const ModelConfig& m, Json& json) const override {
    json["use_gate"] = m.backbone == Backbone::kMamba;
    json["share_qk"] = m.backbone == Backbone::kMamba;
    json["mini_batch_size"] = m.mini_batch_size;
    json["ttt_base_lr"] = m.resolved_ttt_base_lr();
    json["ttt_base_lr_init"] = m.resolved_ttt_base_lr_init();
    if (m.ttt_base_lr_warmup_steps >= 0) json["ttt_base_lr_warmup_steps"] = m.ttt_base_lr_warmup_steps;
    json["conv_kernel"] = kConvTaps;
    json["scan_checkpoint_group_size"] = 0;
    if (!is_said_by_form(m)) write_switches(m, json);
  }
  void read_keys(const HuggingFaceReader& in, ModelConfig& m) const override {
    const bool gate = in.boolean("use_gate", false), share_qk = in.boolean("share_qk", false);
    if (gate != share_qk)
      user_error(in.source(),
                 ": 'use_gate' and 'share_qk' differ; only both true (Mamba backbone) or both false (Transformer "
                 "backbone) are supported");
    m.backbone = gate ? Backbone::kMamba : Backbone::kTransformer;
    m.mini_batch_size = in.has("mini_batch_size") ? in.integer("mini_batch_size") : 16;
    in.only("mini_batch_size", m.mini_batch_size > 0, "a positive number");
    m.ttt_base_lr = in.number("ttt_base_lr", 1.0);
    m.ttt_base_lr_init = in.number("ttt_base_lr_init", -1);
    if (in.has("ttt_base_lr_warmup_steps")) m.ttt_base_lr_warmup_steps = in.integer("ttt_base_lr_warmup_steps");
    if (in.has("conv_kernel")) in.only("conv_kernel", in.integer("conv_kernel") == kConvTaps, "4");
    read_switches(in, m);
  }
  bool is_said_by_form(const ModelConfig& m) const override { return ttt_switches(m).empty(); }
  bool says_pre_conv() const override { return true; }

 protected:
  // W0 and b0 of the inner net, under the names of both codes.
  virtual Parameters fast_weights(std::int64_t heads, std::int64_t head_size) const = 0;
  virtual std::int64_t open_row_numbers(std::int64_t head_size) const = 0;  // that decoding keeps of an open token
  virtual double kept_by_inner_loop(const ModelConfig& m) const = 0;        // fp32, for the backward pass, a token
  // The same of the row that takes this layer's f: fused ones take the published, the composed one
  // (ops/ttt_composed.cpp) keeps W of every sixteenth mini-batch. Of several steps it keeps nothing.
  double kept_for_backward(const ModelConfig& m) const {
    if (m.ttt_inner_steps > 1) return 0;
    if (m.ttt_norm && m.ttt_residual && m.ttt_bias) return kept_by_inner_loop(m);
    return static_cast<double>(recurrent_numbers(m)) / (16 * static_cast<double>(m.mini_batch_size));
  }
  // An estimate of what autograd holds of a layer's sequence of several steps (ops/ttt_composed_steps.cpp). Of each step
  // by token: with LN its two activations, y - target, three numbers of its gradient and e (.) X of the update, without
  // it G and e (.) X; of an MLP's hidden layer Z, X, B, G and e (.) X. Of the queries LN's two activations, Z and X. Of
  // each mini-batch its weights, its rates and two matrices [C,C] for each step that a step's keys, its gradients or the
  // queries read.
  double held_in_backward(const ModelConfig& m) const {
    const auto H = static_cast<double>(m.num_heads), D = static_cast<double>(m.hidden_size),
               C = static_cast<double>(m.mini_batch_size), n = static_cast<double>(m.ttt_inner_steps);
    const auto layers = static_cast<double>(fast_weights(m.num_heads, m.head_size()).size()) / 2;
    const double hidden = 4 * D * (layers - 1), of_step = (m.ttt_norm ? 7 : 2) * D + 5 * hidden,
                 of_queries = (m.ttt_norm ? 2 : 0) * D + 2 * hidden,
                 matrices = 1 + layers * n * (n + 1) + (layers - 1) * n * (n - 1);
    return n * of_step + of_queries + H * C * matrices + static_cast<double>(recurrent_numbers(m)) / C;
  }

  static bool is_bias(const Parameter& weight) { return weight.name.starts_with('b'); }

  // The switches of ttt_switches() in config.json, under the names of their keys.
  static void write_switches(const ModelConfig& m, Json& json) {
    json["ttt_feature_map"] = m.ttt_feature_map == TttFeatureMap::kElu ? "elu" : "none";
    json["ttt_normalizer"] = m.ttt_normalizer;
    json["ttt_learned_w0"] = m.ttt_learned_w0;
    json["ttt_norm"] = m.ttt_norm;
    json["ttt_residual"] = m.ttt_residual;
    json["ttt_bias"] = m.ttt_bias;
    json["ttt_learned_lr"] = m.ttt_learned_lr;
    json["ttt_target"] = m.ttt_target == TttTarget::kInput ? "input" : "value";
    json["ttt_inner_steps"] = m.ttt_inner_steps;
  }
  static void read_switches(const HuggingFaceReader& in, ModelConfig& m) {
    const std::string map = in.text("ttt_feature_map", "none"), target = in.text("ttt_target", "value");
    in.only("ttt_feature_map", map == "none" || map == "elu", "none or elu");
    in.only("ttt_target", target == "value" || target == "input", "value or input");
    m.ttt_feature_map = map == "elu" ? TttFeatureMap::kElu : TttFeatureMap::kNone;
    m.ttt_normalizer = in.boolean("ttt_normalizer", false);
    m.ttt_learned_w0 = in.boolean("ttt_learned_w0", true);
    m.ttt_norm = in.boolean("ttt_norm", true);
    m.ttt_residual = in.boolean("ttt_residual", true);
    m.ttt_bias = in.boolean("ttt_bias", true);
    m.ttt_learned_lr = in.boolean("ttt_learned_lr", true);
    m.ttt_target = target == "input" ? TttTarget::kInput : TttTarget::kValue;
    if (in.has("ttt_inner_steps")) m.ttt_inner_steps = in.integer("ttt_inner_steps");
  }

  // Of a layer of width in x out, forward, a token: the keys' and the queries' reads, the update. In the dual form step m
  // reads the rows of the m - 1 before it, and the queries read all.
  static double layer_flops(double in, double out, double C, double steps) {
    return (4 * steps + 2) * in * out + 2 * C * (in + out) * steps * (steps + 1) / 2;
  }
  // Of a layer above the first: its gradient to the layer below.
  static double gradient_flops(double in, double out, double C, double steps) {
    return 2 * steps * in * out + 2 * C * (in + out) * steps * (steps - 1) / 2;
  }

  static Parameter matrix(const char* name, std::vector<std::int64_t> shape) {
    return other(name, std::move(shape), {Init::Kind::kNormal, kProjectionStd}, Decay::kMatrix, Role::kFastWeight);
  }
  static Parameter bias(const char* name, std::vector<std::int64_t> shape) {
    return other(name, std::move(shape), {Init::Kind::kZeros}, Decay::kVector, Role::kFastWeight);
  }
};

class TttLinear : public Ttt {
 public:
  TttLinear() : Ttt(MixerKind::kTttLinear, "ttt_linear", "linear") {}
  double paper_base_lr() const override { return 1.0; }
  // In one step 6 K^2 + 4 C K.
  double inner_loop_flops(std::int64_t head_size, std::int64_t mini_batch, std::int64_t steps) const override {
    const auto K = static_cast<double>(head_size), C = static_cast<double>(mini_batch);
    return layer_flops(K, K, C, static_cast<double>(steps));
  }

 private:
  Parameters fast_weights(std::int64_t H, std::int64_t K) const override {
    return {matrix("w1", {H, K, K}).in_file("W1").in_jax("ttt_dense_0"), bias("b1", {H, 1, K}).in_jax("ttt_bias_0")};
  }
  std::int64_t open_row_numbers(std::int64_t K) const override { return 2 * K; }  // K, G
  // The fused kernels (kernels/cpu/ttt_fused.h): the normalised activations, G, and W of every eighth mini-batch.
  double kept_by_inner_loop(const ModelConfig& m) const override {
    const auto D = static_cast<double>(m.hidden_size), K = static_cast<double>(m.head_size()),
               C = static_cast<double>(m.mini_batch_size);
    return 3 * D + (K + 1) * D / (8 * C);
  }
};

class TttMlp : public Ttt {
 public:
  TttMlp() : Ttt(MixerKind::kTttMlp, "ttt_mlp", "mlp") {}
  double paper_base_lr() const override { return 0.1; }
  std::optional<double> paper_base_lr_init() const override { return 0.01; }
  void check(const ModelConfig& m) const override {
    if (m.ttt_normalizer) {
      user_error(
          "model.ttt_normalizer divides what a linear f gives by a sum over positive keys, and ttt_mlp's f is an MLP; "
          "leave the key out, or take model.mixer ttt_linear");
    }
    Ttt::check(m);
    if (!m.ttt_learned_w0) {
      user_error(
          "model.ttt_learned_w0 is false, and no gradient reaches the layers of an inner MLP that starts at zero; "
          "leave "
          "the key out, or take model.mixer ttt_linear");
    }
  }
  // In one step 56 K^2 + 20 C K.
  double inner_loop_flops(std::int64_t head_size, std::int64_t mini_batch, std::int64_t steps) const override {
    const auto K = static_cast<double>(head_size), C = static_cast<double>(mini_batch), M = 4 * K;
    const auto n = static_cast<double>(steps);
    return layer_flops(K, M, C, n) + layer_flops(M, K, C, n) + gradient_flops(M, K, C, n);
  }

 private:
  Parameters fast_weights(std::int64_t H, std::int64_t K) const override {
    const std::int64_t M = 4 * K;
    return {matrix("w1", {H, K, M}).in_file("W1").in_jax("ttt_dense_0"), bias("b1", {H, 1, M}).in_jax("ttt_bias_0"),
            matrix("w2", {H, M, K}).in_file("W2").in_jax("ttt_dense_1"), bias("b2", {H, 1, K}).in_jax("ttt_bias_1")};
  }
  std::int64_t open_row_numbers(std::int64_t K) const override { return 2 * K + 2 * 4 * K; }  // K, G2, X2, G1
  // The fused kernels: W of every sixteenth mini-batch.
  double kept_by_inner_loop(const ModelConfig& m) const override {
    const auto D = static_cast<double>(m.hidden_size), K = static_cast<double>(m.head_size()),
               C = static_cast<double>(m.mini_batch_size);
    return (8 * K + 5) * D / (16 * C);
  }
};

}  // namespace

const MixerDeclaration& ttt_linear_declaration() {
  static const TttLinear linear;
  return linear;
}

const MixerDeclaration& ttt_mlp_declaration() {
  static const TttMlp mlp;
  return mlp;
}

}  // namespace ttt
