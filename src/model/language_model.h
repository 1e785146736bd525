// The language model: embedding, blocks, final norm, head.
//
//     x += PreConv(x)                only with pre_conv: causal depthwise convolution, width 4, of RMSNorm(x)
//     x += Mixer(RMSNorm(x))
//     x += SwiGLU(RMSNorm(x))        not in a model of Mamba alone
//
// Shapes: B batch, T time, D width, V vocabulary.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "arch/model_config.h"
#include "nn/layers.h"
#include "nn/mixer.h"

namespace ttt {

// Decoding state of a whole model: one entry a block (the mixer's state and the window of its pre_conv).
class ModelState {
 public:
  struct BlockState {
    std::unique_ptr<MixerState> mixer;
    torch::Tensor pre_conv_window_BWD;  // the last W = 3 inputs; undefined without pre_conv
  };
  std::vector<BlockState> blocks;
  std::int64_t position = 0;  // tokens consumed

  ModelState clone() const;
  std::int64_t bytes() const;
};

class LanguageModel : public torch::nn::Module {
 public:
  // Parameters are fp32 on the CPU, drawn from (seed, parameter name): the same on any machine and for any world size.
  // Names: embedding.weight; layers.N.{pre_conv.norm.weight, pre_conv.conv.weight [D,1,4], pre_conv.conv.bias,
  // mixer_norm.weight, mixer.*, mlp_norm.weight, mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight};
  // final_norm.weight; lm_head.weight (untied only). mixer.*: q_proj, k_proj (not with shared QK), v_proj, o_proj,
  // gate_proj .weight; conv_q, conv_k .weight [D,1,4] .bias; post_norm.weight .bias; ttt_norm_weight, ttt_norm_bias
  // [H,K]; lr_weight [H,1,D], lr_bias [H,1]; token_scale_delta [C]; w1 b1 (w2 b2) as in ops/ttt.h.
  LanguageModel(const ModelConfig& config, std::uint64_t seed);
  // With parameters of any value: memory that nobody has touched yet, to be filled from a file, or to be counted.
  explicit LanguageModel(const ModelConfig& config);

  // tokens [B,T] int64 -> final hidden states [B,T,D] (after the final norm), and logits of hidden states.
  torch::Tensor hidden(const torch::Tensor& tokens_BT, const ForwardContext& context, ModelState* state = nullptr);
  torch::Tensor logits(const torch::Tensor& hidden_BTD) const;

  // -log p(target) of every position [B,T], fp32 log-softmax. targets [B,T] int64.
  torch::Tensor token_loss(const torch::Tensor& tokens_BT, const torch::Tensor& targets_BT,
                           const ForwardContext& context);
  // The same of final hidden states [B,T,D].
  torch::Tensor hidden_loss(const torch::Tensor& hidden_BTD, const torch::Tensor& targets_BT) const;
  // The token with the largest logit, the first of equal ones: hidden states [N,D] -> [N] int64. Logits are formed a
  // few at a time.
  torch::Tensor most_likely(const torch::Tensor& hidden_ND) const;

  // Advances `state` by T tokens; logits of the last position [B,V]. No gradients.
  torch::Tensor advance(const torch::Tensor& tokens_BT, ModelState& state);

  ModelState initial_state(std::int64_t batch) const;
  const ModelConfig& config() const { return config_; }

  // Whether dense products, attention and what ops hand to one another are bf16. Norms' statistics, inner loops, scans,
  // the residual stream and losses stay fp32, and so do the parameters: weights of dense layers are rounded in each
  // pass, their gradients are fp32.
  void set_bf16(bool on);
  bool bf16() const { return bf16_; }
  // For a model in bf16 that is not trained any more: weights of dense layers and of the head are rounded for good, so
  // that decoding reads half the memory. The same results.
  void round_dense_weights();

  // Of every layer that has an inner loop; how many these are.
  std::int64_t set_inner_loop(const InnerLoopControl& control);

 private:
  const torch::Tensor& head() const;  // [V,D]

  ModelConfig config_;
  torch::Tensor embedding_;     // [V,D]
  torch::Tensor head_;          // [V,D], undefined when tied
  torch::Tensor rounded_head_;  // of round_dense_weights()
  torch::nn::ModuleList layers_;
  std::shared_ptr<RmsNorm> final_norm_;
  bool bf16_ = false;
};

}  // namespace ttt
