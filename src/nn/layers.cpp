#include "nn/layers.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "ops/causal_conv.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"

namespace ttt {

torch::Tensor Linear::forward(const torch::Tensor& x) const {
  return linear_layer(x, weight);
}

torch::Tensor BiasedLinear::forward(const torch::Tensor& x) const {
  return linear_layer(x, weight, bias);
}

torch::Tensor RmsNorm::forward(const torch::Tensor& x) const {
  return rms_norm(x, weight, eps_, output_type_);
}

NormedSum RmsNorm::forward(const torch::Tensor& x, const torch::Tensor& delta) const {
  return add_rms_norm(x, delta, weight, eps_, output_type_);
}

CausalConv::CausalConv(std::int64_t width)
    : Weight(at::IntArrayRef({width, 1, kConvWidth})), bias(register_parameter("bias", torch::empty(width))) {}

torch::Tensor CausalConv::forward(const torch::Tensor& x_BTD, const torch::Tensor& window_BWD) const {
  return causal_conv(x_BTD, weight, bias, window_BWD);
}

PreConv::PreConv(std::int64_t width, double norm_eps)
    : norm_(register_module("norm", std::make_shared<RmsNorm>(width, norm_eps))),
      conv_(register_module("conv", std::make_shared<CausalConv>(width))) {}

torch::Tensor PreConv::forward(const torch::Tensor& x_BTD, torch::Tensor* window_BWD) const {
  const torch::Tensor normed_BTD = norm_->forward(x_BTD);
  if (window_BWD == nullptr) return conv_->forward(normed_BTD, {});
  const torch::Tensor y_BTD = conv_->forward(normed_BTD, *window_BWD);
  *window_BWD = next_conv_window(normed_BTD, *window_BWD);
  return y_BTD;
}

SwiGlu::SwiGlu(std::int64_t width, std::int64_t hidden)
    : gate_proj_(register_module("gate_proj", std::make_shared<Linear>(width, hidden))),
      up_proj_(register_module("up_proj", std::make_shared<Linear>(width, hidden))),
      down_proj_(register_module("down_proj", std::make_shared<Linear>(hidden, width))) {}

torch::Tensor SwiGlu::forward(const torch::Tensor& x) const {
  return down_proj_->forward(swiglu(gate_proj_->forward(x), up_proj_->forward(x)));
}

}  // namespace ttt
