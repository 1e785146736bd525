// The `reference` row: kernels/reference (plain loops, the specification) behind tensors.
//
// Shapes: B batch, H heads, T time, K head size, M hidden width of TTT-MLP, C mini-batch.
#include "kernels/reference/ttt_reference.h"

#include <ATen/ATen.h>

#include "ops/ttt_kernels.h"

namespace ttt {
namespace {

using kernels::TttPointers;
using kernels::TttSizes;

TttSizes sizes_of(TttKind kind, const TttInputs& inputs, const TttWeights& weights, std::int64_t mini_batch_size) {
  const at::Tensor& q = inputs.q_BHTK;
  const std::int64_t hidden = kind == TttKind::kMlp ? weights.w1.size(2) : 0;
  return {q.size(0), q.size(1), q.size(2), q.size(3), hidden, mini_batch_size};
}

at::Tensor contiguous(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.contiguous() : tensor;
}

struct Contiguous {
  TttInputs inputs;
  TttWeights weights;
};

Contiguous contiguous(const TttInputs& in, const TttWeights& w) {
  return {{contiguous(in.q_BHTK), contiguous(in.k_BHTK), contiguous(in.v_BHTK), contiguous(in.sigma_BHT),
           contiguous(in.scale_C), contiguous(in.gain_HK), contiguous(in.bias_HK)},
          {contiguous(w.w1), contiguous(w.b1), contiguous(w.w2), contiguous(w.b2)}};
}

// P = float / double for gradients, const float / const double for values.
template <class P>
TttPointers<P> pointers(const TttInputs& in, const TttWeights& w) {
  const auto data = [](const at::Tensor& t) {
    return t.defined() ? static_cast<P*>(t.data_ptr<std::remove_const_t<P>>()) : nullptr;
  };
  return {data(in.q_BHTK),  data(in.k_BHTK), data(in.v_BHTK), data(in.sigma_BHT), data(in.scale_C), data(in.gain_HK),
          data(in.bias_HK), data(w.w1),      data(w.b1),      data(w.w2),         data(w.b2)};
}

at::Tensor reference_forward(TttKind kind, const TttInputs& inputs, const TttWeights& initial,
                             std::int64_t mini_batch_size, TttSaved*) {
  const Contiguous args = contiguous(inputs, initial);
  const TttSizes sizes = sizes_of(kind, inputs, initial, mini_batch_size);
  at::Tensor o_BHTK = at::empty(inputs.q_BHTK.sizes(), inputs.q_BHTK.options());
  AT_DISPATCH_FLOATING_TYPES(o_BHTK.scalar_type(), "ttt_reference_forward", [&] {
    const auto in = pointers<const scalar_t>(args.inputs, args.weights);
    if (kind == TttKind::kLinear) {
      kernels::ttt_linear_forward_reference<scalar_t>(sizes, in, o_BHTK.data_ptr<scalar_t>());
    } else {
      kernels::ttt_mlp_forward_reference<scalar_t>(sizes, in, o_BHTK.data_ptr<scalar_t>());
    }
  });
  return o_BHTK;
}

TttGradients reference_backward(TttKind kind, const at::Tensor& grad_o_BHTK, const TttInputs& inputs,
                                const TttWeights& initial, std::int64_t mini_batch_size, const TttSaved&) {
  const Contiguous args = contiguous(inputs, initial);
  const at::Tensor grad_o = grad_o_BHTK.contiguous();
  const TttSizes sizes = sizes_of(kind, inputs, initial, mini_batch_size);
  const auto like = [](const at::Tensor& t) {
    return t.defined() ? at::empty(t.sizes(), t.options().requires_grad(false)) : at::Tensor();
  };
  const TttGradients grad = {{like(inputs.q_BHTK), like(inputs.k_BHTK), like(inputs.v_BHTK), like(inputs.sigma_BHT),
                              like(inputs.scale_C), like(inputs.gain_HK), like(inputs.bias_HK)},
                             {like(initial.w1), like(initial.b1), like(initial.w2), like(initial.b2)}};
  AT_DISPATCH_FLOATING_TYPES(grad_o.scalar_type(), "ttt_reference_backward", [&] {
    const auto in = pointers<const scalar_t>(args.inputs, args.weights);
    const auto out = pointers<scalar_t>(grad.inputs, grad.initial);
    if (kind == TttKind::kLinear) {
      kernels::ttt_linear_backward_reference<scalar_t>(sizes, in, grad_o.data_ptr<scalar_t>(), out);
    } else {
      kernels::ttt_mlp_backward_reference<scalar_t>(sizes, in, grad_o.data_ptr<scalar_t>(), out);
    }
  });
  return grad;
}

}  // namespace

TttKernel reference_ttt_kernel() {
  return {{"reference", {.place = KernelPlace::kCpu, .dtypes = {at::kFloat, at::kDouble}}},
          {reference_forward, reference_backward}};
}

}  // namespace ttt
