// The sequence mixer: the layer of a block that moves information along time. Attention, Mamba, TTT-Linear and TTT-MLP
// are mixers.
//
// Shapes: B batch, T time, D width, H heads, K head size, C mini-batch.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arch/model_config.h"

namespace ttt {

// Statistics that one TTT layer collected in a forward pass (see ops/ttt.h and evaluation of the paper's figures).
struct InnerLoopStats {
  std::int64_t layer = 0;
  torch::Tensor target_variance;  // [ceil(T/C)]: of each mini-batch's first token, K before RoPE
  torch::Tensor loss_w0, loss_before, loss_after, weight_change;  // [ceil(T/C)]
  torch::Tensor sigma_quantiles;  // [5]: 0, 25, 50, 75, 100 % of the inner learning rates sigma
  torch::Tensor sigma;            // [B*H*T]: all of them
};

// Tokens begin .. begin+length-1 of sequence `sequence` of a batch: one document, or a part of one.
struct Segment {
  std::int64_t sequence = 0, begin = 0, length = 0;
};

// What a forward pass is told beside its input.
struct ForwardContext {
  double ttt_lr_mult = 1.0;             // the inner learning rate's warm-up factor; 1 in evaluation and decoding
  torch::Tensor ttt_lr_mult_on_device;  // the same, fp64 of no dimension, where it is read there (a recorded graph)
  std::vector<InnerLoopStats>* stats = nullptr;  // when set, each TTT layer appends its statistics
  std::int64_t layer = 0;                        // set by the model for each block
  // When set: what moves along time (mixers, convolutions, positions) starts anew in each segment. They cover the batch
  // in order. Not with a state.
  const std::vector<Segment>* segments = nullptr;
  // Keep only each block's input for the backward pass and compute the block again there.
  bool recompute = false;
};

// How much inner loops learn, beside what their learning rates say.
struct InnerLoopControl {
  double lr_scale = 1.0;                          // of the inner learning rates; 0: the fast weights stay W0
  std::optional<std::int64_t> freeze_after = {};  // tokens of a sequence, of a segment where there are some: later ones
                                                  // are read with what these have left, and learn nothing

  bool operator==(const InnerLoopControl&) const = default;
};

// A mixer's state in decoding. Concrete types belong to the mixers.
class MixerState {
 public:
  virtual ~MixerState() = default;
  virtual std::unique_ptr<MixerState> clone() const = 0;
  virtual std::int64_t bytes() const = 0;  // of all its tensors
};

class SequenceMixer : public torch::nn::Module {
 public:
  // x [B,T,D] -> [B,T,D], T >= 1. Without a state the sequence starts fresh and gradients flow. With one it continues
  // from the state, which advances by T; no gradients.
  virtual torch::Tensor forward(const torch::Tensor& x_BTD, const ForwardContext& context,
                                MixerState* state = nullptr) = 0;

  // One token: x [B,D] -> [B,D]. The same as forward on T = 1.
  torch::Tensor step(const torch::Tensor& x_BD, MixerState& state) {
    return forward(x_BD.unsqueeze(1), ForwardContext{}, &state).squeeze(1);
  }

  virtual std::unique_ptr<MixerState> initial_state(std::int64_t batch) const = 0;

  // Its own parameters (not its submodules') that every token is multiplied with as by a Linear: [out,in] or
  // [out,1,in].
  virtual std::vector<std::string> dense_weights() const { return {}; }

  // False where the mixer has no inner loop.
  virtual bool set_inner_loop(const InnerLoopControl&) { return false; }
};

// The mixer that config.mixer names for this layer (from 0).
std::shared_ptr<SequenceMixer> make_mixer(const ModelConfig& config, std::int64_t layer);

}  // namespace ttt
