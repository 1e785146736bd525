// The small modules that blocks are built from. Each holds its parameters, uninitialised (the model initialises them by
// name), and calls an op.
//
// Shapes: B batch, T time, D width, W convolution taps.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>
#include "ops/rms_norm.h"

#include <cstdint>
#include <memory>
#include <optional>

namespace ttt {

// A parameter `weight` of the given shape, and nothing else.
class Weight : public torch::nn::Module {
 public:
  explicit Weight(at::IntArrayRef shape) : weight(register_parameter("weight", torch::empty(shape))) {}
  torch::Tensor weight;
};

// y = x weight^T, weight [out, in], no bias. A weight of another type than x is rounded to x's in each call.
class Linear : public Weight {
 public:
  Linear(std::int64_t in, std::int64_t out) : Weight(at::IntArrayRef({out, in})) {}
  torch::Tensor forward(const torch::Tensor& x) const;
};

// y = x weight^T + bias, weight [out, in], bias [out].
class BiasedLinear : public Weight {
 public:
  BiasedLinear(std::int64_t in, std::int64_t out)
      : Weight(at::IntArrayRef({out, in})), bias(register_parameter("bias", torch::empty(out))) {}
  torch::Tensor forward(const torch::Tensor& x) const;
  torch::Tensor bias;
};

// weight [D]. What follows a norm computes in the norm's output type: x's, unless set_output_type() named one.
class RmsNorm : public Weight {
 public:
  RmsNorm(std::int64_t width, double eps) : Weight(at::IntArrayRef({width})), eps_(eps) {}
  torch::Tensor forward(const torch::Tensor& x) const;
  NormedSum forward(const torch::Tensor& x, const torch::Tensor& delta) const;  // of x + delta
  void set_output_type(std::optional<at::ScalarType> type) { output_type_ = type; }

 private:
  double eps_;
  std::optional<at::ScalarType> output_type_;
};

// weight and bias [D] of a LayerNorm; the op that uses them applies them.
class LayerNormParameters : public Weight {
 public:
  explicit LayerNormParameters(std::int64_t width)
      : Weight(at::IntArrayRef({width})), bias(register_parameter("bias", torch::empty(width))) {}
  torch::Tensor bias;
};

// Causal depthwise convolution, weight [D,1,W], bias [D]. See ops/causal_conv.h for the window.
class CausalConv : public Weight {
 public:
  explicit CausalConv(std::int64_t width);
  torch::Tensor forward(const torch::Tensor& x_BTD, const torch::Tensor& window_BWD) const;
  torch::Tensor bias;
};

// The block's pre_conv: the convolution of RMSNorm(x).
class PreConv : public torch::nn::Module {
 public:
  PreConv(std::int64_t width, double norm_eps);
  // With a window (of normed inputs), it is replaced by the next one.
  torch::Tensor forward(const torch::Tensor& x_BTD, torch::Tensor* window_BWD) const;

 private:
  std::shared_ptr<RmsNorm> norm_;
  std::shared_ptr<CausalConv> conv_;
};

// w_down(silu(w_gate x) * (w_up x)).
class SwiGlu : public torch::nn::Module {
 public:
  SwiGlu(std::int64_t width, std::int64_t hidden);
  torch::Tensor forward(const torch::Tensor& x) const;

 private:
  std::shared_ptr<Linear> gate_proj_, up_proj_, down_proj_;
};

}  // namespace ttt
