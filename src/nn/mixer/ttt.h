// The TTT layers, TTT-Linear and TTT-MLP (arXiv 2407.04620), around the ops of ops/ttt.h:
//
//     transformer backbone:  Q, K, V = Wq x, Wk x, Wv x;                     y = Wo post_norm(O)
//     mamba backbone:        Q, K = conv_q(Wqk x), conv_k(Wqk x), V = Wv x;  y = Wo (gelu_tanh(Wg x) * post_norm(O))
//     sigma_j = base_lr * ttt_lr_mult * sigmoid(w_head . x_j + bias_head) / K
//     scale_i = max(0, 1/(i+1) + delta_i),   i the place in the mini-batch
//
// RoPE on Q and K after the convolutions, position = token index mod C. Variants (the paper's table 1; ttt_switches() in
// arch/model_config.h), any of which a config may set:
//
//     feature map    Q and K become elu(Q) + 1 and elu(K) + 1, after RoPE
//     normaliser     O_t becomes O_t / (Q_t . sum of K_s, s <= t)
//     fixed rate     sigma_j = base_lr * ttt_lr_mult, scale_i = 1
//     input as target   V = x, the head's part of it, and there is no Wv
//     W0, biases     are zeros, and no parameters, where they are not learned
//     LN, residual, biases, steps   of the op (ops/ttt.h: TttLearner, TttUpdate)
//
// Shapes: B batch, T time, D width, H heads, K head size, C mini-batch, M = 4K.
#pragma once

#include <memory>

#include "nn/layers.h"
#include "nn/mixer.h"
#include "ops/rope.h"
#include "ops/ttt.h"

namespace ttt {

class TttMixerState : public MixerState {
 public:
  TttState inner;               // fast weights and the open mini-batch; inner.num_open is the position mod C
  std::int64_t tokens = 0;      // consumed
  torch::Tensor qk_window_BWD;  // mamba backbone: the last inputs of both convolutions, which read the same Wqk x
  torch::Tensor key_sum_BHK;    // the normaliser's

  std::unique_ptr<MixerState> clone() const override;
  std::int64_t bytes() const override;
};

class TttMixer : public SequenceMixer {
 public:
  TttMixer(const ModelConfig& config, const TttNet& net);
  torch::Tensor forward(const torch::Tensor& x_BTD, const ForwardContext& context, MixerState* state) override;
  std::unique_ptr<MixerState> initial_state(std::int64_t batch) const override;
  std::vector<std::string> dense_weights() const override;
  bool set_inner_loop(const InnerLoopControl& control) override;

 private:
  // sigma [B,H,T]; first: of x's tokens in the sequence
  torch::Tensor inner_learning_rate(const torch::Tensor& x_BTD, const ForwardContext& context,
                                    std::int64_t first) const;
  torch::Tensor features(const torch::Tensor& x) const;  // of queries or keys
  // The normaliser's divisor [B,H,T,1]; in decoding the sum of keys goes on from the state's.
  torch::Tensor key_mass(const TttInputs& inputs, TttMixerState* decoding) const;
  InnerLoopStats statistics(const TttInputs& inputs, const torch::Tensor& k_before_rope_BTD, std::int64_t layer) const;

  TttNet net_;
  InnerLoopControl control_;
  Backbone backbone_;
  TttFeatureMap feature_map_;
  bool normalizer_, learned_lr_;
  std::int64_t num_heads_, head_dim_, mini_batch_;
  double base_lr_, rope_theta_;
  std::shared_ptr<Linear> q_proj_, k_proj_, v_proj_, o_proj_,
      gate_proj_;  // k_proj_: transformer only; gate_proj_: mamba only; v_proj_: with theta_V x as the target
  std::shared_ptr<CausalConv> conv_q_, conv_k_;  // mamba only
  std::shared_ptr<LayerNormParameters> post_norm_;
  torch::Tensor ttt_norm_weight_HK_, ttt_norm_bias_HK_;
  torch::Tensor lr_weight_H1D_, lr_bias_H1_, token_scale_delta_C_;  // of a learned rate
  TttWeights initial_weights_;                                      // of the inner net, by its names
  RopeTable rope_table_;                                            // C positions
};

}  // namespace ttt
