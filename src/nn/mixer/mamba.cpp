#include "nn/mixer/mamba.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "arch/mixer/mamba.h"
#include "base/error.h"
#include "ops/causal_conv.h"
#include "ops/row_dispatch.h"
#include "ops/selective_scan.h"
#include "ops/swiglu.h"

namespace ttt {

static_assert(kMambaStates == 16, "the scan's loops are written for 16 states");

std::unique_ptr<MixerState> MambaState::clone() const {
  auto copy = std::make_unique<MambaState>();
  copy->conv_window_BWE = conv_window_BWE.clone();
  copy->h_BNE = h_BNE.clone();
  return copy;
}

std::int64_t MambaState::bytes() const {
  return static_cast<std::int64_t>(conv_window_BWE.nbytes() + h_BNE.nbytes());
}

MambaMixer::MambaMixer(const ModelConfig& config) : channels_(mamba_channels(config)), dt_rank_(mamba_dt_rank(config)) {
  const auto D = config.hidden_size, E = channels_, R = dt_rank_, N = kMambaStates;
  in_proj_ = register_module("in_proj", std::make_shared<Linear>(D, 2 * E));
  conv_ = register_module("conv", std::make_shared<CausalConv>(E));
  x_proj_ = register_module("x_proj", std::make_shared<Linear>(E, R + 2 * N));
  dt_proj_ = register_module("dt_proj", std::make_shared<BiasedLinear>(R, E));
  out_proj_ = register_module("out_proj", std::make_shared<Linear>(E, D));
  A_log_EN_ = register_parameter("A_log", torch::empty({E, N}));
  D_E_ = register_parameter("D", torch::empty({E}));
}

torch::Tensor MambaMixer::forward(const torch::Tensor& x_BTD, const ForwardContext&, MixerState* state) {
  auto* decoding = dynamic_cast<MambaState*>(state);
  TTT_CHECK((decoding != nullptr) == (state != nullptr), "a state of another mixer");
  const torch::AutoGradMode grad_mode(torch::GradMode::is_enabled() && decoding == nullptr);

  const std::vector<torch::Tensor> xz = in_proj_->forward(x_BTD).split(channels_, /*dim=*/2);
  const torch::Tensor window_BWE = decoding ? decoding->conv_window_BWE : torch::Tensor();
  ScanInputs scan;
  const torch::Tensor x_BTE = at::silu(conv_->forward(xz[0], window_BWE));
  const std::vector<torch::Tensor> dt_B_C =
      x_proj_->forward(x_BTE).split_with_sizes({dt_rank_, kMambaStates, kMambaStates}, /*dim=*/2);
  const at::ScalarType wide = wide_type(x_BTD.scalar_type());  // of the scan
  scan.x_BTE = x_BTE.to(wide);
  scan.dt_BTE = at::softplus(dt_proj_->forward(dt_B_C[0]).to(wide));
  scan.A_EN = -at::exp(A_log_EN_);
  scan.B_BTN = dt_B_C[1].to(wide);
  scan.C_BTN = dt_B_C[2].to(wide);
  scan.D_E = D_E_;
  const torch::Tensor y_BTE = decoding ? selective_scan_advance(scan, decoding->h_BNE) : selective_scan(scan);
  if (decoding != nullptr) decoding->conv_window_BWE = next_conv_window(xz[0], window_BWE);
  return out_proj_->forward(swiglu(/*gate=*/xz[1], y_BTE));
}

std::unique_ptr<MixerState> MambaMixer::initial_state(std::int64_t batch) const {
  const torch::NoGradGuard no_grad;
  auto state = std::make_unique<MambaState>();
  const auto options = D_E_.options().requires_grad(false);
  state->conv_window_BWE = at::zeros({batch, kConvWidth - 1, channels_}, options);
  state->h_BNE = at::zeros({batch, kMambaStates, channels_}, options);
  return state;
}

}  // namespace ttt
