// Gated DeltaNet (arXiv 2412.06464), as flash-linear-attention's GatedDeltaNetForCausalLM has it. The module:
// nn/mixer/gated_deltanet.h.
#include "arch/mixer/gated_deltanet.h"

#include <cmath>

#include "arch/mixer.h"
#include "base/error.h"

namespace ttt {
namespace {

class GatedDeltaNet : public MixerDeclaration {
 public:
  GatedDeltaNet()
      : MixerDeclaration(MixerKind::kGatedDeltaNet, "gated_deltanet",
                         {.model_type = "gated_deltanet",
                          .architecture = "GatedDeltaNetForCausalLM",
                          .embedding = "embeddings.weight",
                          .hidden_act = "swish",
                          .tied_where_not_given = false}) {}

  Parameters parameters(const ModelConfig& m) const override {
    const auto D = m.hidden_size, H = m.num_heads, HK = H * deltanet_key_dim(m), V = deltanet_value_dim(m);
    const auto convolution_without_bias = [](const char* name, std::int64_t channels) {
      return convolution(name, channels).starts({Init::Kind::kNormal, kProjectionStd});
    };
    return {dense("q_proj", HK, D),
            dense("k_proj", HK, D),
            dense("v_proj", H * V, D),
            dense("g_proj", H * V, D),
            dense("a_proj", H, D),
            dense("b_proj", H, D),
            other("A_log", {H}, {Init::Kind::kLogOfUniform, 16}, Decay::kNever),
            other("dt_bias", {H}, {Init::Kind::kInverseSoftplusOfStep}, Decay::kNever),
            convolution_without_bias("q_conv1d", HK),
            convolution_without_bias("k_conv1d", HK),
            convolution_without_bias("v_conv1d", H * V),
            norm_gain("o_norm", V),
            dense("o_proj", D, H * V)};
  }
  const char* file_prefix() const override { return "attn."; }
  const char* mixer_norm_file_name() const override { return "attn_norm.weight"; }
  const char* mlp_norm_file_name() const override { return "mlp_norm.weight"; }

  std::vector<const char*> keys() const override { return {"model.num_heads", "model.head_dim", "model.expand_v"}; }
  void check(const ModelConfig& m) const override {
    if (m.head_dim == 0 && m.hidden_size % m.num_heads != 0)
      user_error("model.hidden_size ", m.hidden_size, " is not a multiple of model.num_heads ", m.num_heads,
                 "; give model.head_dim, the size of a head's queries and keys");
    const double values = m.expand_v * static_cast<double>(deltanet_key_dim(m));
    if (values < 1 || std::abs(values - std::round(values)) > 1e-9)
      user_error("model.expand_v ", m.expand_v, " times a head size of ", deltanet_key_dim(m), " is ", values,
                 ", and the size of a head's values must be a whole number; change one of the two");
  }

  void resolve(ModelConfig& m) const override {
    if (m.head_dim == 0 && m.hidden_size % m.num_heads == 0) m.head_dim = m.head_size();
  }

  double op_flops(const ModelConfig& m, double) const override {
    return static_cast<double>(m.num_heads) * deltanet_flops(deltanet_key_dim(m), deltanet_value_dim(m));
  }
  double recomputed_flops(const ModelConfig& m) const override { return op_flops(m, 0); }
  // Convolutions' inputs and outputs, the op's and the gated norm's.
  Kept kept(const ModelConfig& m) const override {
    const auto D = static_cast<double>(m.hidden_size), H = static_cast<double>(m.num_heads),
               K = static_cast<double>(deltanet_key_dim(m)), V = static_cast<double>(deltanet_value_dim(m));
    return {D + H * (6 * K + 5 * V), D + H * (V + K * V / kDeltaNetChunk)};
  }
  // S, and the windows of the convolutions.
  std::int64_t state_numbers(const ModelConfig& m, std::int64_t) const override {
    return recurrent_numbers(m) + (kConvTaps - 1) * m.num_heads * (2 * deltanet_key_dim(m) + deltanet_value_dim(m));
  }
  std::int64_t recurrent_numbers(const ModelConfig& m) const override {
    return m.num_heads * deltanet_key_dim(m) * deltanet_value_dim(m);
  }

  void write_sizes(const ModelConfig& m, Json& json) const override {
    json["intermediate_size"] = m.intermediate_size;
    json["num_heads"] = m.num_heads;
    json["head_dim"] = deltanet_key_dim(m);
    json["norm_eps"] = m.rms_norm_eps();
  }
  void read_sizes(const HuggingFaceReader& in, ModelConfig& m) const override {
    m.num_heads = in.has("num_heads") ? in.positive("num_heads") : 6;
    m.head_dim = in.has("head_dim") ? in.positive("head_dim") : 256;
    const double ratio = in.number("hidden_ratio", 4);
    if (in.has("intermediate_size")) {
      m.intermediate_size = in.positive("intermediate_size");
    } else {
      in.only("hidden_ratio", ratio > 0 && ratio < 1e6, "a positive number");
      const auto width = static_cast<std::int64_t>(static_cast<double>(m.hidden_size) * ratio * 2 / 3);
      m.intermediate_size = (width + 255) / 256 * 256;
    }
    in.only_number("norm_eps", m.rms_norm_eps(), 1e-6);
  }
  void write_keys(const ModelConfig& m, Json& json) const override {
    if (only_mixer(m) != this) json["deltanet_head_dim"] = deltanet_key_dim(m);  // head_dim is attention's there
    json["expand_v"] = m.expand_v;
    json["use_gate"] = true;
    json["use_short_conv"] = true;
    json["allow_neg_eigval"] = false;
    json["conv_size"] = kConvTaps;
  }
  void read_keys(const HuggingFaceReader& in, ModelConfig& m) const override {
    if (only_mixer(m) != this) m.head_dim = in.positive("deltanet_head_dim");
    m.expand_v = in.number("expand_v", 2);
    in.only_value("num_v_heads", m.num_heads);
    in.only("use_gate", in.boolean("use_gate", true), "true");
    in.only("use_short_conv", in.boolean("use_short_conv", true), "true");
    in.only("allow_neg_eigval", !in.boolean("allow_neg_eigval", false), "false");
    in.only_value("conv_size", kConvTaps);
    in.only("attn", !in.has("attn"), "null");
    for (const char* how_it_runs :
         {"attn_mode", "fuse_norm", "fuse_swiglu", "fuse_cross_entropy", "fuse_linear_cross_entropy", "use_l2warp"})
      in.has(how_it_runs);
  }
};

}  // namespace

const MixerDeclaration& gated_deltanet_declaration() {
  static const GatedDeltaNet gated_deltanet;
  return gated_deltanet;
}

}  // namespace ttt
