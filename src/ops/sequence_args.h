// Tensors of whole sequences as CUDA kernels take them (kernels/cuda/conv_rope_args.h): what the short convolution, the
// rotation, and the two in one pass share. "Stored" is the type of activations, bf16 or fp32; weights and tables fp32.
//
// Shapes: B batch, T time, D = H*K width, W = 4 taps, R partial sums.
#pragma once

#include <ATen/ATen.h>

#include "kernels/cuda/conv_rope_args.h"
#include "ops/cuda_target.h"
#include "ops/cuda_values.h"
#include "ops/rope.h"

namespace ttt::on_cuda {

struct ConvParameters {
  at::Tensor weight_WD, bias_D;
};

template <class T>
kernels::cuda::SequenceRows<T> sequence_rows(const at::Tensor& x_BTD) {
  TTT_CHECK(x_BTD.stride(2) == 1 || x_BTD.size(2) == 1, x_BTD.sizes(), " with steps ", x_BTD.strides());
  return {data_of<T>(x_BTD), x_BTD.stride(0), x_BTD.stride(1)};
}

template <class Element>
kernels::cuda::ConvInputs<Element> conv_inputs(const at::Tensor& x_BTD, const at::Tensor& window_BWD) {
  kernels::cuda::ConvInputs<Element> in;
  in.sequences = x_BTD.size(0), in.time = x_BTD.size(1), in.width = x_BTD.size(2);
  in.x = sequence_rows<const Element>(x_BTD), in.window = data_of<const Element>(window_BWD);
  return in;
}
inline kernels::cuda::ConvWeights weights_of(const ConvParameters& conv) {
  return {data_of<const float>(conv.weight_WD), data_of<const float>(conv.bias_D)};
}

// The parts of sums over tokens, and their sum, always in the same order.
struct ConvParts {
  at::Tensor weight_RWD, bias_RD;

  ConvParts(std::int64_t R, const at::Tensor& weight_WD)
      : weight_RWD(at::empty({R, weight_WD.size(0), weight_WD.size(1)}, weight_WD.options())),
        bias_RD(at::empty({R, weight_WD.size(1)}, weight_WD.options())) {}
  kernels::cuda::ConvGradients pointers() const { return {data_of<float>(weight_RWD), data_of<float>(bias_RD)}; }
  ConvParameters sum() const { return {weight_RWD.sum(0), bias_RD.sum(0)}; }
};

inline kernels::cuda::RopeRows rope_rows(const RopeTable& table, std::int64_t offset) {
  return {data_of<const float>(table.cos_PK), data_of<const float>(table.sin_PK), table.positions(), offset};
}

// Calls body(Element, To) for rows of one type and heads of another.
template <class Body>
void dispatch_rotation(const at::Tensor& rows, const at::Tensor& heads, const Body& body) {
  if (rows.scalar_type() == at::kFloat) {
    TTT_CHECK(heads.scalar_type() == at::kFloat, "fp32 rotated to ", heads.scalar_type());
    return body(float(), float());
  }
  dispatch_elements(heads.scalar_type(), [&](auto to) { body(std::uint16_t(), to); });
}

}  // namespace ttt::on_cuda
