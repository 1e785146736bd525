// The TTT ops: argument checks, the kernel table and its choice, and the autograd function. Equations:
// kernels/reference/ttt_reference.h.
#include "ops/ttt.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "ops/check_tensor.h"
#include "ops/row_dispatch.h"
#include "ops/ttt_kernels.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kTttOp = "TTT op";

// --- autograd ---

constexpr std::size_t kNumTensors = 11;  // 7 inputs, 4 weights

class TttFunction : public torch::autograd::Function<TttFunction> {
 public:
  // w2, b2: TTT-MLP only. (An undefined tensor is no valid argument of an autograd function, an absent one is.)
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& sigma, const at::Tensor& scale, const at::Tensor& gain,
                            const at::Tensor& bias, const at::Tensor& w1, const at::Tensor& b1,
                            const std::optional<at::Tensor>& w2, const std::optional<at::Tensor>& b2, std::int64_t kind,
                            std::int64_t mini_batch_size, std::int64_t kernel_index) {
    const TttInputs inputs{q, k, v, sigma, scale, gain, bias};
    const TttWeights initial{w1, b1, w2.value_or(at::Tensor()), b2.value_or(at::Tensor())};
    TttSaved saved;
    const TttKind of = static_cast<TttKind>(kind);
    const TttFunctions& row = ttt_kernels(of)[static_cast<std::size_t>(kernel_index)].run;
    at::Tensor o = row.forward(of, inputs, initial, mini_batch_size, &saved);
    variable_list kept{q, k, v, sigma, scale, gain, bias, w1, b1, initial.w2, initial.b2};
    kept.insert(kept.end(), saved.begin(), saved.end());
    context->save_for_backward(std::move(kept));
    context->saved_data["kind"] = kind;
    context->saved_data["mini_batch_size"] = mini_batch_size;
    context->saved_data["kernel"] = kernel_index;
    return o;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad_outputs) {
    if (at::GradMode::is_enabled()) {
      fail("the TTT op has no second derivative: call backward without create_graph");
    }
    const variable_list kept = context->get_saved_variables();
    const TttInputs inputs{kept[0], kept[1], kept[2], kept[3], kept[4], kept[5], kept[6]};
    const TttWeights initial{kept[7], kept[8], kept[9], kept[10]};
    const TttSaved saved(kept.begin() + kNumTensors, kept.end());
    const auto kind = static_cast<TttKind>(context->saved_data["kind"].toInt());
    const auto index = static_cast<std::size_t>(context->saved_data["kernel"].toInt());
    const TttGradients grad = ttt_kernels(kind)[index].run.backward(
        kind, grad_outputs[0], inputs, initial, context->saved_data["mini_batch_size"].toInt(), saved);
    return {grad.inputs.q_BHTK,  grad.inputs.k_BHTK,  grad.inputs.v_BHTK, grad.inputs.sigma_BHT, grad.inputs.scale_C,
            grad.inputs.gain_HK, grad.inputs.bias_HK, grad.initial.w1,    grad.initial.b1,       grad.initial.w2,
            grad.initial.b2,     at::Tensor(),        at::Tensor(),       at::Tensor()};
  }
};

}  // namespace

TttShape shape_of(const TttInputs& inputs, std::int64_t mini_batch_size) {
  const at::Tensor& q = inputs.q_BHTK;
  return {q.size(0),       q.size(1),       q.size(2),  q.size(3),
          mini_batch_size, q.scalar_type(), q.device(), inputs.bf16_products};
}

const char* to_string(TttKind kind) {
  return kind == TttKind::kLinear ? "TTT-Linear" : "TTT-MLP";
}

void check_ttt_arguments(TttKind kind, const TttInputs& inputs, const TttWeights& weights, std::int64_t mini_batch_size,
                         std::int64_t weights_batch) {
  const at::Tensor& q = inputs.q_BHTK;
  if (!q.defined() || q.dim() != 4)
    fail("TTT op: q must be a tensor of four dimensions, [batch, heads, time, head size]");
  const at::ScalarType type = q.scalar_type();
  if (type != at::kFloat && type != at::kDouble && type != at::kBFloat16) {
    user_error("the inner loop of TTT layers takes bf16, fp32 and fp64 tensors, not ", type, "; set train.dtype: fp32");
  }
  const std::int64_t batch = q.size(0), heads = q.size(1), time = q.size(2), head_dim = q.size(3);
  if (batch < 1 || heads < 1 || time < 1 || head_dim < 1)
    fail("TTT op: q has shape ", q.sizes(), ", every size must be at least 1");
  if (mini_batch_size < 1) fail("TTT op: the mini-batch size is ", mini_batch_size, ", it must be at least 1");
  check_tensor(kTttOp, "k", inputs.k_BHTK, {batch, heads, time, head_dim}, type, q);
  check_tensor(kTttOp, "v", inputs.v_BHTK, {batch, heads, time, head_dim}, type, q);
  check_tensor(kTttOp, "sigma", inputs.sigma_BHT, {batch, heads, time}, wide_type(type), q);
  check_tensor(kTttOp, "scale", inputs.scale_C, {mini_batch_size}, wide_type(type), q);
  check_tensor(kTttOp, "gain", inputs.gain_HK, {heads, head_dim}, wide_type(type), q);
  check_tensor(kTttOp, "bias", inputs.bias_HK, {heads, head_dim}, wide_type(type), q);

  std::vector<std::int64_t> lead{heads};
  if (weights_batch > 0) lead.insert(lead.begin(), weights_batch);
  const auto check_weight = [&](const char* name, const at::Tensor& tensor, std::int64_t rows, std::int64_t cols) {
    std::vector<std::int64_t> sizes = lead;
    sizes.insert(sizes.end(), {rows, cols});
    check_tensor(kTttOp, name, tensor, sizes, wide_type(type), q);
  };
  if (kind == TttKind::kLinear) {
    check_weight("w1", weights.w1, head_dim, head_dim);
    check_weight("b1", weights.b1, 1, head_dim);
    if (weights.w2.defined() || weights.b2.defined()) fail("TTT op: TTT-Linear has no w2 and b2, leave them undefined");
    return;
  }
  if (!weights.w1.defined() || weights.w1.dim() < 1) fail("TTT op: w1 is not given");
  const std::int64_t hidden = weights.w1.size(-1);
  check_weight("w1", weights.w1, head_dim, hidden);
  check_weight("b1", weights.b1, 1, hidden);
  check_weight("w2", weights.w2, hidden, head_dim);
  check_weight("b2", weights.b2, 1, head_dim);
}

const TttKernels& ttt_kernels(TttKind kind) {
  const auto rows_of = [](TttKind of) {
    std::vector<TttKernel> rows = fused_ttt_kernels();
    rows.insert(rows.begin(), cuda_ttt_kernel(of));
    rows.push_back(composed_ttt_kernel());
    rows.push_back(reference_ttt_kernel());
    return rows;
  };
  constexpr KernelTableTraits kTraits{.fp32_in_bf16_models = true, .announced = true};
  static const TttKernels linear("ttt_linear", rows_of(TttKind::kLinear), kTraits);
  static const TttKernels mlp("ttt_mlp", rows_of(TttKind::kMlp), kTraits);
  return kind == TttKind::kLinear ? linear : mlp;
}

KernelCall call_of(const TttShape& shape) {
  return {.device = shape.device,
          .dtype = shape.dtype,
          .head_dim = shape.head_dim,
          .mini_batch = shape.mini_batch,
          .bf16_products = shape.bf16_products};
}

bool ttt_takes_bf16(TttKind kind, const TttShape& shape) {
  TttShape bf16 = shape;
  bf16.dtype = at::kBFloat16;
  return ttt_kernels(kind).would_choose(call_of(bf16)).has_value();
}

const TttKernel& choose_ttt_kernel(TttKind kind, const TttShape& shape) {
  return ttt_kernels(kind).choose(call_of(shape));
}

const TttKernel* choose_ttt_decoder(TttKind kind, const TttShape& shape) {
  const TttKernels& kernels = ttt_kernels(kind);
  const std::optional<std::size_t> forced = kernels.forced();
  const KernelCall call = call_of(shape);
  for (const TttKernel& kernel : kernels) {
    if (forced && &kernel != &kernels[*forced]) continue;
    if (kernel.run.advance != nullptr && takes(kernel.needs, call)) return &kernel;
  }
  return nullptr;
}

at::Tensor ttt_forward(TttKind kind, const TttInputs& inputs, const TttWeights& initial, std::int64_t mini_batch_size) {
  check_ttt_arguments(kind, inputs, initial, mini_batch_size, 0);
  const TttKernels& kernels = ttt_kernels(kind);
  const std::size_t index = kernels.choose_index(call_of(shape_of(inputs, mini_batch_size)));
  const auto& in = inputs;
  bool differentiate = false;
  for (const at::Tensor& t : {in.q_BHTK, in.k_BHTK, in.v_BHTK, in.sigma_BHT, in.scale_C, in.gain_HK, in.bias_HK,
                              initial.w1, initial.b1, initial.w2, initial.b2}) {
    differentiate = differentiate || (t.defined() && t.requires_grad());
  }
  if (!differentiate || !at::GradMode::is_enabled()) {
    const at::NoGradGuard no_grad;
    return kernels[index].run.forward(kind, inputs, initial, mini_batch_size, nullptr);
  }
  const auto optional = [](const at::Tensor& t) { return t.defined() ? std::optional<at::Tensor>(t) : std::nullopt; };
  return TttFunction::apply(in.q_BHTK, in.k_BHTK, in.v_BHTK, in.sigma_BHT, in.scale_C, in.gain_HK, in.bias_HK,
                            initial.w1, initial.b1, optional(initial.w2), optional(initial.b2),
                            static_cast<std::int64_t>(kind), mini_batch_size, static_cast<std::int64_t>(index));
}

}  // namespace ttt
