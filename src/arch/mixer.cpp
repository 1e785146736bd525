#include "arch/mixer.h"

#include "base/error.h"

namespace ttt {

// Each in its file, arch/mixer/.
const MixerDeclaration& attention_declaration();
const MixerDeclaration& ttt_linear_declaration();
const MixerDeclaration& ttt_mlp_declaration();
const MixerDeclaration& mamba_declaration();
const MixerDeclaration& gated_deltanet_declaration();

const std::vector<const MixerDeclaration*>& all_mixers() {
  static const std::vector<const MixerDeclaration*> all = {&attention_declaration(), &ttt_linear_declaration(),
                                                           &ttt_mlp_declaration(), &mamba_declaration(),
                                                           &gated_deltanet_declaration()};
  return all;
}

const MixerDeclaration& declaration_of(MixerKind kind) {
  const MixerDeclaration& mixer = *all_mixers().at(static_cast<std::size_t>(kind));
  TTT_CHECK(mixer.kind() == kind, "all_mixers() has another order than MixerKind at ", mixer.name());
  return mixer;
}

const MixerDeclaration* only_mixer(const ModelConfig& m) {
  return m.mixer.is_hybrid() ? nullptr : &declaration_of(m.mixer.kinds().front());
}

std::string mixer_names(const char* separator) {
  std::string names;
  for (const MixerDeclaration* mixer : all_mixers()) names += cat(names.empty() ? "" : separator, mixer->name());
  return names;
}

void write_llama_sizes(const ModelConfig& m, Json& json) {
  json["intermediate_size"] = m.intermediate_size;
  json["num_attention_heads"] = m.num_heads;
  json["rms_norm_eps"] = m.rms_norm_eps();
  json["rope_theta"] = m.rope_theta;
}

void read_llama_sizes(const HuggingFaceReader& in, ModelConfig& m) {
  m.intermediate_size = in.positive("intermediate_size");
  m.num_heads = in.positive("num_attention_heads");
  m.rope_theta = in.rope_theta();
  in.only_number("rms_norm_eps", m.rms_norm_eps(), 1e-6);
}

}  // namespace ttt
