// Causal softmax attention with RoPE at absolute positions (interleaved pairs), scale 1/sqrt(K), no biases; over all
// positions before, or over a window of the last W (model.attention_window, 0: all).
//
// Shapes: B batch, T time, D width, H heads, K head size, S cached positions.
#pragma once

#include <memory>

#include "nn/layers.h"
#include "nn/mixer.h"
#include "ops/rope.h"

namespace ttt {

// The keys and values that later tokens may see, in buffers that grow by doubling.
class AttentionState : public MixerState {
 public:
  torch::Tensor k_BHSK, v_BHSK;  // S >= cached; the first `cached` rows are valid
  std::int64_t cached = 0;       // the last positions
  std::int64_t position = 0;     // tokens seen

  // Appends T rows and advances.
  void append(const torch::Tensor& k_BHTK, const torch::Tensor& v_BHTK);
  // Drops all but the last `rows` rows.
  void keep_last(std::int64_t rows);
  std::unique_ptr<MixerState> clone() const override;
  std::int64_t bytes() const override;
};

class AttentionMixer : public SequenceMixer {
 public:
  explicit AttentionMixer(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x_BTD, const ForwardContext& context, MixerState* state) override;
  std::unique_ptr<MixerState> initial_state(std::int64_t batch) const override;

 private:
  // The table up to `positions`, grown and moved to x's device and type as needed.
  const RopeTable& rope_table(std::int64_t positions, const torch::Tensor& x);

  std::int64_t num_heads_, head_dim_, window_;
  double rope_theta_;
  std::shared_ptr<Linear> q_proj_, k_proj_, v_proj_, o_proj_;
  RopeTable rope_table_;
};

}  // namespace ttt
