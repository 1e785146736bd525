// The `reference` row: kernels/reference (plain loops, the specification) behind tensors.
//
// Shapes: B batch, H heads, T time, K head size, C mini-batch.
#include "kernels/reference/ttt_reference.h"

#include <ATen/ATen.h>

#include "ops/ttt_kernels.h"

namespace ttt {
namespace {

using kernels::TttPointers;
using kernels::TttSizes;

TttSizes sizes_of(const TttInputs& inputs, std::int64_t mini_batch_size) {
  const at::Tensor& q = inputs.q_BHTK;
  return {q.size(0), q.size(1), q.size(2), q.size(3), mini_batch_size};
}

struct Contiguous {
  TttInputs inputs;
  TttWeights weights;
};

Contiguous contiguous(const TttInputs& in, const TttWeights& w) {
  Contiguous all{{in.q_BHTK.contiguous(), in.k_BHTK.contiguous(), in.v_BHTK.contiguous(), in.sigma_BHT.contiguous(),
                  in.scale_C.contiguous(), in.gain_HK.contiguous(), in.bias_HK.contiguous()},
                 {}};
  for (const at::Tensor& tensor : w) all.weights.push_back(tensor.contiguous());
  return all;
}

// P = float / double for gradients, const float / const double for values.
template <class P>
TttPointers<P> pointers(const TttInputs& in, const TttWeights& w) {
  const auto data = [](const at::Tensor& t) { return static_cast<P*>(t.data_ptr<std::remove_const_t<P>>()); };
  TttPointers<P> all{data(in.q_BHTK),  data(in.k_BHTK),  data(in.v_BHTK), data(in.sigma_BHT),
                     data(in.scale_C), data(in.gain_HK), data(in.bias_HK)};
  for (std::size_t l = 0; 2 * l < w.size(); ++l)
    all.layers.push_back({data(w[2 * l]), data(w[2 * l + 1]), w[2 * l].size(1), w[2 * l].size(2)});
  return all;
}

at::Tensor reference_forward(const TttNet& net, const TttInputs& inputs, const TttWeights& initial,
                             std::int64_t mini_batch_size, TttSaved*) {
  const Contiguous args = contiguous(inputs, initial);
  at::Tensor o_BHTK = at::empty(inputs.q_BHTK.sizes(), inputs.q_BHTK.options());
  AT_DISPATCH_FLOATING_TYPES(o_BHTK.scalar_type(), "ttt_reference_forward", [&] {
    kernels::ttt_forward_reference<scalar_t>(sizes_of(inputs, mini_batch_size), net.learner,
                                             pointers<const scalar_t>(args.inputs, args.weights),
                                             o_BHTK.data_ptr<scalar_t>(), net.update);
  });
  return o_BHTK;
}

TttGradients reference_backward(const TttNet& net, const at::Tensor& grad_o_BHTK, const TttInputs& inputs,
                                const TttWeights& initial, std::int64_t mini_batch_size, const TttSaved&) {
  const Contiguous args = contiguous(inputs, initial);
  const at::Tensor grad_o = grad_o_BHTK.contiguous();
  const auto like = [](const at::Tensor& t) { return at::empty(t.sizes(), t.options().requires_grad(false)); };
  TttGradients grad;
  grad.inputs = {like(inputs.q_BHTK),  like(inputs.k_BHTK),  like(inputs.v_BHTK), like(inputs.sigma_BHT),
                 like(inputs.scale_C), like(inputs.gain_HK), like(inputs.bias_HK)};
  for (const at::Tensor& tensor : initial) grad.initial.push_back(like(tensor));
  AT_DISPATCH_FLOATING_TYPES(grad_o.scalar_type(), "ttt_reference_backward", [&] {
    kernels::ttt_backward_reference<scalar_t>(
        sizes_of(inputs, mini_batch_size), net.learner, pointers<const scalar_t>(args.inputs, args.weights),
        grad_o.data_ptr<scalar_t>(), pointers<scalar_t>(grad.inputs, grad.initial), net.update);
  });
  return grad;
}

}  // namespace

TttKernel reference_ttt_kernel() {
  return {{"reference", {.place = KernelPlace::kCpu, .dtypes = {at::kFloat, at::kDouble}}},
          {reference_forward, reference_backward}};
}

}  // namespace ttt
