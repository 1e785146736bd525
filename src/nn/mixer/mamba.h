// Mamba's selective-scan mixer (arXiv 2312.00752; the oracle is Hugging Face's MambaForCausalLM):
//
//     x, z = in_proj(u);   x = silu(conv(x));   dt, B, C = x_proj(x);   dt = softplus(dt_proj(dt))
//     h_t = exp(dt A) h_{t-1} + dt B_t x_t,  A = -exp(A_log);   y_t = C_t . h_t + D x_t;   out = out_proj(y silu(z))
//
// Shapes: B batch, T time, D width, E = 2 D channels, N = 16 states, R = ceil(D / 16) rank of dt, W = 4 taps.
#pragma once

#include <memory>

#include "nn/layers.h"
#include "nn/mixer.h"

namespace ttt {

class MambaState : public MixerState {
 public:
  torch::Tensor conv_window_BWE;  // the last W-1 inputs of the convolution
  torch::Tensor h_BNE;

  std::unique_ptr<MixerState> clone() const override;
  std::int64_t bytes() const override;
};

class MambaMixer : public SequenceMixer {
 public:
  // Parameters: in_proj.weight [2E,D]; conv.weight [E,1,W], conv.bias [E]; x_proj.weight [R+2N,E]; dt_proj.weight
  // [E,R], dt_proj.bias [E]; A_log [E,N]; D [E]; out_proj.weight [D,E].
  explicit MambaMixer(const ModelConfig& config);
  torch::Tensor forward(const torch::Tensor& x_BTD, const ForwardContext& context, MixerState* state) override;
  std::unique_ptr<MixerState> initial_state(std::int64_t batch) const override;

 private:
  std::int64_t channels_, dt_rank_;
  std::shared_ptr<Linear> in_proj_, x_proj_, out_proj_;
  std::shared_ptr<CausalConv> conv_;
  std::shared_ptr<BiasedLinear> dt_proj_;
  torch::Tensor A_log_EN_, D_E_;
};

}  // namespace ttt
