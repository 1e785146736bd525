// The Gated DeltaNet mixer (arXiv 2412.06464; the oracles are Hugging Face's Qwen3NextGatedDeltaNet and
// flash-linear-attention's GatedDeltaNet, whose parameter names it has):
//
//     q = silu(conv(x Wq)),  k = silu(conv(x Wk)),  v = silu(conv(x Wv));   beta = sigmoid(x Wb)
//     g = -exp(A_log) softplus(x Wa + dt_bias);   o = the gated delta rule of (q, k, v, g, beta), ops/gated_delta.h
//     y = concat_H(RMSNorm(o) silu(x Wg)) Wo
//
// Shapes: B batch, T time, D width, H heads, K the keys' head size, V the values', W = 4 taps.
#pragma once

#include <memory>

#include "nn/layers.h"
#include "nn/mixer.h"

namespace ttt {

struct GatedDeltaConfig {
  std::int64_t hidden_size = 0;   // D
  std::int64_t num_heads = 0;     // H
  std::int64_t head_dim = 0;      // K
  std::int64_t value_dim = 0;     // V
  bool use_gate = true;           // false: no g_proj, the outputs are normalised only
  bool allow_neg_eigval = false;  // beta = 2 sigmoid(x Wb): a step may turn a key's value around
  double norm_eps = 1e-6;         // of the norm of the outputs
};

class GatedDeltaState : public MixerState {
 public:
  torch::Tensor q_window_BWE, k_window_BWE, v_window_BWE;  // the last W-1 inputs of each convolution
  torch::Tensor S_BHKV;

  std::unique_ptr<MixerState> clone() const override;
  std::int64_t bytes() const override;
};

class GatedDeltaMixer : public SequenceMixer {
 public:
  // Parameters: q_proj.weight, k_proj.weight [HK,D]; v_proj.weight [HV,D], g_proj.weight [HV,D] with use_gate;
  // a_proj.weight, b_proj.weight [H,D]; A_log, dt_bias [H]; q_conv1d.weight, k_conv1d.weight [HK,1,W], v_conv1d.weight
  // [HV,1,W]; o_norm.weight [V]; o_proj.weight [D,HV].
  explicit GatedDeltaMixer(const GatedDeltaConfig& config);
  torch::Tensor forward(const torch::Tensor& x_BTD, const ForwardContext& context, MixerState* state) override;
  std::unique_ptr<MixerState> initial_state(std::int64_t batch) const override;

 private:
  // silu(conv(x W)) in heads [B,H,T,X]; `window`, where it is not null, advances.
  torch::Tensor heads(const torch::Tensor& x_BTD, const Linear& projection, const Weight& conv,
                      torch::Tensor* window) const;

  GatedDeltaConfig config_;
  std::shared_ptr<Linear> q_proj_, k_proj_, v_proj_, g_proj_, a_proj_, b_proj_, o_proj_;
  std::shared_ptr<Weight> q_conv1d_, k_conv1d_, v_conv1d_, o_norm_;
  torch::Tensor A_log_H_, dt_bias_H_;
};

}  // namespace ttt
