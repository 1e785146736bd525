// The `reference` row of the gated delta rule: kernels/reference (plain loops, the specification) behind tensors.
#include "kernels/reference/gated_delta_reference.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "ops/gated_delta_kernels.h"

namespace ttt {
namespace {

using kernels::GatedDeltaPointers;
using kernels::GatedDeltaSizes;

GatedDeltaInputs contiguous(const GatedDeltaInputs& in) {
  return {in.q_BHTK.contiguous(), in.k_BHTK.contiguous(), in.v_BHTV.contiguous(), in.g_BHT.contiguous(),
          in.beta_BHT.contiguous()};
}

GatedDeltaSizes delta_sizes(const GatedDeltaInputs& in) {
  const at::Tensor& q = in.q_BHTK;
  return {q.size(0), q.size(1), q.size(2), q.size(3), in.v_BHTV.size(3)};
}

// P = float / double for gradients, const float / const double for values.
template <class P>
GatedDeltaPointers<P> delta_pointers(const GatedDeltaInputs& in) {
  const auto data = [](const at::Tensor& t) { return static_cast<P*>(t.data_ptr<std::remove_const_t<P>>()); };
  return {data(in.q_BHTK), data(in.k_BHTK), data(in.v_BHTV), data(in.g_BHT), data(in.beta_BHT)};
}

at::Tensor delta_reference_forward(const GatedDeltaInputs& inputs, const at::Tensor* state_BHKV, GatedDeltaSaved*) {
  const GatedDeltaInputs in = contiguous(inputs);
  const at::Tensor o_BHTV = at::empty(in.v_BHTV.sizes(), in.v_BHTV.options().requires_grad(false));
  AT_DISPATCH_FLOATING_TYPES(o_BHTV.scalar_type(), "gated_delta_reference_forward", [&] {
    kernels::gated_delta_forward_reference<scalar_t>(
        delta_sizes(in), delta_pointers<const scalar_t>(in),
        state_BHKV == nullptr ? nullptr : state_BHKV->mutable_data_ptr<scalar_t>(),
        o_BHTV.mutable_data_ptr<scalar_t>());
  });
  return o_BHTV;
}

GatedDeltaInputs delta_reference_backward(const at::Tensor& grad_o_BHTV, const GatedDeltaInputs& inputs,
                                          const GatedDeltaSaved&) {
  const GatedDeltaInputs in = contiguous(inputs);
  const at::Tensor grad_o = grad_o_BHTV.contiguous();
  const auto like = [](const at::Tensor& t) { return at::empty(t.sizes(), t.options().requires_grad(false)); };
  const GatedDeltaInputs grad = {like(in.q_BHTK), like(in.k_BHTK), like(in.v_BHTV), like(in.g_BHT), like(in.beta_BHT)};
  AT_DISPATCH_FLOATING_TYPES(grad_o.scalar_type(), "gated_delta_reference_backward", [&] {
    kernels::gated_delta_backward_reference<scalar_t>(delta_sizes(in), delta_pointers<const scalar_t>(in),
                                                      grad_o.const_data_ptr<scalar_t>(),
                                                      delta_pointers<scalar_t>(grad));
  });
  return grad;
}

}  // namespace

GatedDeltaKernel reference_gated_delta_kernel() {
  return {{"reference", {.place = KernelPlace::kCpu, .dtypes = {at::kFloat, at::kDouble}}},
          {delta_reference_forward, delta_reference_backward}};
}

}  // namespace ttt
