// Mamba, as its authors build it: blocks without an MLP, RMSNorm with eps 1e-5 (a hybrid's Mamba layers have an MLP).
// The module: nn/mixer/mamba.h.
#include "arch/mixer/mamba.h"

#include <cmath>

#include "arch/mixer.h"

namespace ttt {
namespace {

class Mamba : public MixerDeclaration {
 public:
  Mamba()
      : MixerDeclaration(MixerKind::kMamba, "mamba",
                         {.model_type = "mamba",
                          .architecture = "MambaForCausalLM",
                          .root = "backbone.",
                          .embedding = "embeddings.weight",
                          .final_norm = "norm_f.weight"}) {}

  // Linear layers and the convolution begin as LibTorch has it by default, uniform within 1 / sqrt(fan_in); out_proj
  // divided by sqrt(layers).
  Parameters parameters(const ModelConfig& m) const override {
    const auto D = m.hidden_size, E = mamba_channels(m), R = mamba_dt_rank(m), N = kMambaStates;
    const auto uniform = [](std::int64_t fan_in) {
      return Init{Init::Kind::kUniform, 1.0 / std::sqrt(static_cast<double>(fan_in))};
    };
    Init out_init = uniform(E);
    out_init.scale /= std::sqrt(static_cast<double>(m.num_layers));
    return {dense("in_proj", 2 * E, D).starts(uniform(D)),
            convolution("conv", E).starts(uniform(kConvTaps)).in_file("conv1d.weight"),
            convolution_bias("conv", E).starts(uniform(kConvTaps)).in_file("conv1d.bias"),
            dense("x_proj", R + 2 * N, E).starts(uniform(E)),
            dense("dt_proj", E, R).starts(uniform(R)),
            other("dt_proj.bias", {E}, {Init::Kind::kInverseSoftplusOfStep}, Decay::kNever),
            other("A_log", {E, N}, {Init::Kind::kLogOfIndex, static_cast<double>(N)}, Decay::kNever),
            other("D", {E}, {Init::Kind::kOnes}, Decay::kNever),
            dense("out_proj", D, E).starts(out_init)};
  }
  const char* file_prefix() const override { return "mixer."; }
  const char* mixer_norm_file_name() const override { return "norm.weight"; }
  const char* mlp_norm_file_name() const override { return "ffn_norm.weight"; }
  bool has_mlp_alone() const override { return false; }
  double norm_eps_alone() const override { return 1e-5; }

  std::vector<const char*> keys() const override { return {}; }

  // dt A; dt x B; decay h and add; C h; D x.
  double op_flops(const ModelConfig& m, double) const override {
    const auto E = static_cast<double>(mamba_channels(m)), N = static_cast<double>(kMambaStates);
    return 6 * E * N + 2 * E;
  }
  Kept kept(const ModelConfig& m) const override {
    const auto D = static_cast<double>(m.hidden_size), E = static_cast<double>(mamba_channels(m));
    return {D + 4 * E, D + 4 * E};
  }
  std::int64_t state_numbers(const ModelConfig& m, std::int64_t) const override {
    return mamba_channels(m) * (kMambaStates + kConvTaps - 1);
  }
  std::int64_t recurrent_numbers(const ModelConfig& m) const override { return mamba_channels(m) * kMambaStates; }

  void write_sizes(const ModelConfig& m, Json& json) const override {
    json["intermediate_size"] = mamba_channels(m);  // so Hugging Face calls it there
  }
  void read_sizes(const HuggingFaceReader&, ModelConfig&) const override {}
  void write_keys(const ModelConfig& m, Json& json) const override {
    json["layer_norm_epsilon"] = m.rms_norm_eps();
    json["state_size"] = kMambaStates;
    json["expand"] = 2;
    json["conv_kernel"] = kConvTaps;
    json["time_step_rank"] = mamba_dt_rank(m);
    json["use_bias"] = false;
    json["use_conv_bias"] = true;
    json["residual_in_fp32"] = true;
  }
  void read_keys(const HuggingFaceReader& in, ModelConfig& m) const override {
    const bool alone = only_mixer(m) == this;
    in.only("layer_norm_epsilon", std::abs(in.number("layer_norm_epsilon", 1e-5) - m.rms_norm_eps()) < 1e-12,
            alone ? "1e-05" : "1e-06 (in a hybrid)");
    if (in.has("state_size")) in.only("state_size", in.integer("state_size") == kMambaStates, "16");
    if (in.has("expand")) in.only("expand", in.integer("expand") == 2, "2");
    if (alone) {  // the width of its channels, which follows from others, and old names of three keys
      for (const char* key : {"intermediate_size", "d_inner"}) in.only_value(key, mamba_channels(m));
      in.only_value("d_model", m.hidden_size);
      in.only_value("n_layer", m.num_layers);
    }
    in.only_value("rms_norm", true);
    for (const char* key : {"ssm_cfg", "attn_cfg"}) in.only_value(key, Json::object());
    in.only_value("attn_layer_idx", Json::array());
    if (in.has("conv_kernel")) in.only("conv_kernel", in.integer("conv_kernel") == kConvTaps, "4");
    if (in.has("time_step_rank") && !in.is_text("time_step_rank"))
      in.only("time_step_rank", in.integer("time_step_rank") == mamba_dt_rank(m), "hidden_size / 16, rounded up");
    in.only("use_bias", !in.boolean("use_bias", false), "false");
    in.only("use_conv_bias", in.boolean("use_conv_bias", true), "true");
  }
};

}  // namespace

const MixerDeclaration& mamba_declaration() {
  static const Mamba mamba;
  return mamba;
}

}  // namespace ttt
