// TTT layers other than the published, each with one switch of the paper's table 1 turned, and some with several: for
// the tests that hold for all of them.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "arch/model_config.h"

namespace ttt::testing {

struct TttVariant {
  std::string name;
  bool linear_alone;  // not for TTT-MLP
  void (*turn)(ModelConfig&);
};

// The paper's first rows: b is the caller's.
inline void turn_to_linear_attention(ModelConfig& m) {
  m.ttt_learned_w0 = m.ttt_norm = m.ttt_residual = m.ttt_bias = m.ttt_learned_lr = false;
  m.ttt_base_lr = m.ttt_base_lr_init = 1;
}
inline void turn_to_normalised_linear_attention(ModelConfig& m) {
  turn_to_linear_attention(m);
  m.ttt_feature_map = TttFeatureMap::kElu;
  m.ttt_normalizer = true;
}

inline const std::vector<TttVariant>& ttt_variants() {
  static const std::vector<TttVariant> all = {
      {"normalised_linear_attention", true,
       [](ModelConfig& m) {
         turn_to_normalised_linear_attention(m);
         m.ttt_base_lr = m.ttt_base_lr_init = 0.05;  // its keys are long, and mini-batches may be short
       }},
      {"linear_f", true,
       [](ModelConfig& m) {
         turn_to_linear_attention(m);
         m.ttt_base_lr = m.ttt_base_lr_init = 0.1;
       }},
      {"zero_w0", true, [](ModelConfig& m) { m.ttt_learned_w0 = m.ttt_norm = false; }},
      {"feature_map", false, [](ModelConfig& m) { m.ttt_feature_map = TttFeatureMap::kElu; }},
      {"no_norm", false, [](ModelConfig& m) { m.ttt_norm = false; }},
      {"no_residual", false, [](ModelConfig& m) { m.ttt_residual = false; }},
      {"no_bias", false, [](ModelConfig& m) { m.ttt_bias = false; }},
      {"fixed_lr", false,
       [](ModelConfig& m) {
         m.ttt_learned_lr = false;
         m.ttt_base_lr = m.ttt_base_lr_init = 0.02;
       }},
      {"input_target", false, [](ModelConfig& m) { m.ttt_target = TttTarget::kInput; }},
      {"two_steps", false, [](ModelConfig& m) { m.ttt_inner_steps = 2; }},
      {"several", false,
       [](ModelConfig& m) {
         m.ttt_norm = m.ttt_bias = m.ttt_learned_lr = false;
         m.ttt_base_lr = m.ttt_base_lr_init = 0.02;
         m.ttt_target = TttTarget::kInput;
         m.ttt_inner_steps = 3;
       }},
  };
  return all;
}

// body(mixer, variant) for every variant of both mixers.
template <class Body>
void for_ttt_variants(const Body& body) {
  for (const MixerKind mixer : {MixerKind::kTttLinear, MixerKind::kTttMlp}) {
    for (const TttVariant& variant : ttt_variants()) {
      if (mixer == MixerKind::kTttMlp && variant.linear_alone) continue;
      SCOPED_TRACE(std::string(to_string(mixer)) + ", " + variant.name);
      body(mixer, variant);
    }
  }
}

}  // namespace ttt::testing
