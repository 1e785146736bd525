// The gated delta rule: argument checks, the kernel table and its choice, and the autograd function.
#include "ops/gated_delta.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <vector>

#include "base/error.h"
#include "ops/check_tensor.h"
#include "ops/gated_delta_kernels.h"
#include "ops/row_dispatch.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// --- argument checks ---

constexpr const char* kDeltaOp = "gated delta rule";

void check_delta_inputs(const GatedDeltaInputs& in) {
  const at::Tensor& q = in.q_BHTK;
  if (!q.defined() || q.dim() != 4)
    fail("gated delta rule: q must be a tensor of four dimensions, [batch, heads, time, head size]");
  if (!in.v_BHTV.defined() || in.v_BHTV.dim() != 4)
    fail("gated delta rule: v must be a tensor of four dimensions, [batch, heads, time, head size of the values]");
  const at::ScalarType type = q.scalar_type();
  if (type != at::kFloat && type != at::kDouble && type != at::kBFloat16)
    user_error("the gated delta rule takes bf16, fp32 and fp64 tensors, not ", type, "; set train.dtype: fp32");
  const std::int64_t B = q.size(0), H = q.size(1), T = q.size(2), V = in.v_BHTV.size(3);
  if (q.numel() < 1 || V < 1)
    fail("gated delta rule: q has shape ", q.sizes(), ", v ", in.v_BHTV.sizes(), "; every size must be at least 1");
  check_tensor(kDeltaOp, "k", in.k_BHTK, q.sizes(), type, q);
  check_tensor(kDeltaOp, "v", in.v_BHTV, {B, H, T, V}, type, q);
  check_tensor(kDeltaOp, "g", in.g_BHT, {B, H, T}, wide_type(type), q);
  check_tensor(kDeltaOp, "beta", in.beta_BHT, {B, H, T}, wide_type(type), q);
}

// q, k and v of bf16 in fp32.
GatedDeltaInputs widened(const GatedDeltaInputs& in) {
  const at::ScalarType wide = wide_type(in.q_BHTK.scalar_type());
  return {in.q_BHTK.to(wide), in.k_BHTK.to(wide), in.v_BHTV.to(wide), in.g_BHT, in.beta_BHT};
}

KernelCall call_of(const GatedDeltaInputs& in) {
  const at::Tensor& q = in.q_BHTK;
  return gated_delta_call(q.size(3), in.v_BHTV.size(3), q.scalar_type(), q.device());
}

// --- autograd ---

struct GatedDeltaFunction : torch::autograd::Function<GatedDeltaFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& g, const at::Tensor& beta, std::int64_t kernel) {
    GatedDeltaSaved saved;
    const at::Tensor o = gated_delta_kernels()[static_cast<std::size_t>(kernel)].run.forward(
        {q, k, v, g, beta}, /*state_BHKV=*/nullptr, &saved);
    variable_list kept = {q, k, v, g, beta};
    kept.insert(kept.end(), saved.begin(), saved.end());
    context->save_for_backward(std::move(kept));
    context->saved_data["kernel"] = kernel;
    return o;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    if (at::GradMode::is_enabled())
      fail("the gated delta rule has no second derivative: call backward without create_graph");
    const variable_list kept = context->get_saved_variables();
    const GatedDeltaSaved saved(kept.begin() + 5, kept.end());
    const auto kernel = static_cast<std::size_t>(context->saved_data["kernel"].toInt());
    const GatedDeltaInputs d =
        gated_delta_kernels()[kernel].run.backward(grads[0], {kept[0], kept[1], kept[2], kept[3], kept[4]}, saved);
    return {d.q_BHTK, d.k_BHTK, d.v_BHTV, d.g_BHT, d.beta_BHT, at::Tensor()};
  }
};

}  // namespace

KernelCall gated_delta_call(std::int64_t key_dim, std::int64_t value_dim, at::ScalarType dtype, at::Device device) {
  return {.device = device, .dtype = dtype, .head_dim = key_dim, .value_dim = value_dim};
}

const GatedDeltaKernels& gated_delta_kernels() {
  static const GatedDeltaKernels kernels("gated_delta",
                                         [] {
                                           std::vector<GatedDeltaKernel> rows = fused_gated_delta_kernels();
                                           rows.push_back(composed_gated_delta_kernel());
                                           rows.push_back(reference_gated_delta_kernel());
                                           return rows;
                                         }(),
                                         {.fp32_in_bf16_models = true, .announced = true});
  return kernels;
}

at::Tensor gated_delta_forward(const GatedDeltaInputs& inputs) {
  check_delta_inputs(inputs);
  const GatedDeltaInputs in = widened(inputs);
  const std::size_t index = gated_delta_kernels().choose_index(call_of(in));
  bool differentiate = false;
  for (const at::Tensor& t : {in.q_BHTK, in.k_BHTK, in.v_BHTV, in.g_BHT, in.beta_BHT})
    differentiate = differentiate || t.requires_grad();
  if (!differentiate || !at::GradMode::is_enabled()) {
    const at::NoGradGuard no_grad;
    return gated_delta_kernels()[index].run.forward(in, /*state_BHKV=*/nullptr, /*saved=*/nullptr);
  }
  return GatedDeltaFunction::apply(in.q_BHTK, in.k_BHTK, in.v_BHTV, in.g_BHT, in.beta_BHT,
                                   static_cast<std::int64_t>(index));
}

at::Tensor gated_delta_advance(const GatedDeltaInputs& inputs, at::Tensor& state_BHKV) {
  const at::NoGradGuard no_grad;
  check_delta_inputs(inputs);
  const GatedDeltaInputs in = widened(inputs);
  const at::Tensor& q = in.q_BHTK;
  check_tensor(kDeltaOp, "the state", state_BHKV, {q.size(0), q.size(1), q.size(3), in.v_BHTV.size(3)}, q.scalar_type(),
               q);
  TTT_CHECK(state_BHKV.is_contiguous(), "the state advances in place, it must be contiguous");
  return gated_delta_kernels().choose(call_of(in)).run.forward(in, &state_BHKV, /*saved=*/nullptr);
}

}  // namespace ttt
