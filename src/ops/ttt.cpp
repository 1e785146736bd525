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

constexpr std::size_t kInputs = 7;  // tensors before the weights

struct HeldNet : torch::CustomClassHolder {
  explicit HeldNet(const TttNet& of) : net(of) {}
  const TttNet net;
};

std::vector<at::Tensor> flat(const TttInputs& in, const TttWeights& weights) {
  std::vector<at::Tensor> all{in.q_BHTK, in.k_BHTK, in.v_BHTK, in.sigma_BHT, in.scale_C, in.gain_HK, in.bias_HK};
  all.insert(all.end(), weights.begin(), weights.end());
  return all;
}

TttInputs inputs_of(const std::vector<at::Tensor>& all) {
  return {all[0], all[1], all[2], all[3], all[4], all[5], all[6]};
}

class TttFunction : public torch::autograd::Function<TttFunction> {
 public:
  // tensors: the inputs, then the weights.
  static at::Tensor forward(AutogradContext* context, at::TensorList tensors, const c10::intrusive_ptr<HeldNet>& held,
                            std::int64_t mini_batch_size, std::int64_t kernel_index) {
    const variable_list all(tensors.begin(), tensors.end());
    const TttWeights initial(all.begin() + kInputs, all.end());
    TttSaved saved;
    const TttFunctions& row = ttt_kernels(held->net)[static_cast<std::size_t>(kernel_index)].run;
    at::Tensor o = row.forward(held->net, inputs_of(all), initial, mini_batch_size, &saved);
    variable_list kept = all;
    kept.insert(kept.end(), saved.begin(), saved.end());
    context->save_for_backward(std::move(kept));
    context->saved_data["net"] = c10::IValue::make_capsule(held);
    context->saved_data["tensors"] = static_cast<std::int64_t>(all.size());
    context->saved_data["mini_batch_size"] = mini_batch_size;
    context->saved_data["kernel"] = kernel_index;
    return o;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad_outputs) {
    if (at::GradMode::is_enabled()) {
      fail("the TTT op has no second derivative: call backward without create_graph");
    }
    const variable_list kept = context->get_saved_variables();
    const auto net = c10::static_intrusive_pointer_cast<HeldNet>(context->saved_data["net"].toCapsule());
    const auto weights_end = kept.begin() + context->saved_data["tensors"].toInt();
    const TttWeights initial(kept.begin() + kInputs, weights_end);
    const TttSaved saved(weights_end, kept.end());
    const auto index = static_cast<std::size_t>(context->saved_data["kernel"].toInt());
    const TttGradients grad = ttt_kernels(net->net)[index].run.backward(
        net->net, grad_outputs[0], inputs_of(kept), initial, context->saved_data["mini_batch_size"].toInt(), saved);
    variable_list all = flat(grad.inputs, grad.initial);
    all.resize(all.size() + 3);  // of what is no tensor
    return all;
  }
};

// "an inner net of 3 layers, without its residual"
std::string words_of(const TttNet& net) {
  return cat("an inner net of ", net.layers.size(), net.layers.size() == 1 ? " layer" : " layers",
             net.learner.layer_norm ? "" : ", without its LayerNorm",
             net.learner.residual ? "" : ", without its residual", net.update.biases ? "" : ", without biases",
             net.update.steps == 1 ? "" : cat(", in ", net.update.steps, " gradient steps"));
}

}  // namespace

const TttNet& ttt_linear_net() {
  static const TttNet net{{{"w1", "b1"}}};
  return net;
}

const TttNet& ttt_mlp_net() {
  static const TttNet net{{{"w1", "b1"}, {"w2", "b2"}}};
  return net;
}

std::string TttNet::variant() const {
  const bool published = layers.size() <= 2 && learner == kernels::TttLearner{} && update == kernels::TttUpdate{};
  return published ? "" : words_of(*this);
}

TttShape shape_of(const TttNet& net, const TttInputs& inputs, std::int64_t mini_batch_size) {
  const at::Tensor& q = inputs.q_BHTK;
  return {q.size(0),       q.size(1),       q.size(2),  q.size(3),
          mini_batch_size, q.scalar_type(), q.device(), inputs.bf16_products,
          net.variant()};
}

void check_ttt_arguments(const TttNet& net, const TttInputs& inputs, const TttWeights& weights,
                         std::int64_t mini_batch_size, std::int64_t weights_batch) {
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

  if (net.layers.empty()) fail("TTT op: the inner net has no layer");
  if (net.update.steps < 1) fail("TTT op: ", net.update.steps, " gradient steps; there must be at least 1");
  if (weights.size() != 2 * net.layers.size())
    fail("TTT op: ", words_of(net), " has ", 2 * net.layers.size(), " weights and biases, not ", weights.size());
  std::int64_t in = head_dim;
  for (std::size_t l = 0; l < net.layers.size(); ++l) {
    const TttNet::Layer& layer = net.layers[l];
    const at::Tensor &weight = weights[2 * l], &bias = weights[2 * l + 1];
    if (!weight.defined() || weight.dim() < 1) fail("TTT op: ", layer.weight, " is not given");
    const std::int64_t out = l + 1 == net.layers.size() ? head_dim : weight.size(-1);
    std::vector<std::int64_t> of_weight{heads, in, out}, of_bias{heads, 1, out};
    if (weights_batch > 0) {
      of_weight.insert(of_weight.begin(), weights_batch);
      of_bias.insert(of_bias.begin(), weights_batch);
    }
    check_tensor(kTttOp, layer.weight.c_str(), weight, of_weight, wide_type(type), q);
    check_tensor(kTttOp, layer.bias.c_str(), bias, of_bias, wide_type(type), q);
    in = out;
  }
}

const TttKernels& ttt_kernels(const TttNet& net) {
  const auto rows_of = [](const TttKernel& cuda) {
    std::vector<TttKernel> rows = fused_ttt_kernels();
    rows.insert(rows.begin(), cuda);
    rows.push_back(composed_ttt_kernel());
    rows.push_back(reference_ttt_kernel());
    return rows;
  };
  constexpr KernelTableTraits kTraits{.fp32_in_bf16_models = true, .announced = true};
  static const TttKernels linear("ttt_linear", rows_of(cuda_ttt_linear_kernel()), kTraits);
  static const TttKernels mlp("ttt_mlp", rows_of(cuda_ttt_mlp_kernel()), kTraits);
  return net.layers.size() == 1 ? linear : mlp;
}

KernelCall call_of(const TttShape& shape) {
  return {.device = shape.device,
          .dtype = shape.dtype,
          .head_dim = shape.head_dim,
          .mini_batch = shape.mini_batch,
          .bf16_products = shape.bf16_products,
          .pass = shape.pass,
          .variant = shape.variant};
}

bool ttt_takes_bf16(const TttNet& net, const TttShape& shape) {
  TttShape bf16 = shape;
  bf16.dtype = at::kBFloat16;
  bf16.pass = pass_of(at::GradMode::is_enabled());
  bf16.variant = net.variant();
  return ttt_kernels(net).would_choose(call_of(bf16)).has_value();
}

const TttKernel& choose_ttt_kernel(const TttNet& net, const TttShape& shape) {
  return ttt_kernels(net).choose(call_of(shape));
}

const TttKernel* choose_ttt_decoder(const TttNet& net, const TttShape& shape) {
  const TttKernels& kernels = ttt_kernels(net);
  const std::optional<std::size_t> forced = kernels.forced();
  KernelCall call = call_of(shape);
  call.pass = KernelPass::kDecoding;
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    if (forced && i != *forced) continue;
    if (kernels[i].run.advance != nullptr && kernels.takes(i, call)) return &kernels[i];
  }
  return nullptr;
}

at::Tensor ttt_forward(const TttNet& net, const TttInputs& inputs, const TttWeights& initial,
                       std::int64_t mini_batch_size) {
  check_ttt_arguments(net, inputs, initial, mini_batch_size, 0);
  const TttKernels& kernels = ttt_kernels(net);
  const std::vector<at::Tensor> all = flat(inputs, initial);
  const bool differentiate = at::GradMode::is_enabled() &&
                             std::any_of(all.begin(), all.end(), [](const at::Tensor& t) { return t.requires_grad(); });
  TttShape shape = shape_of(net, inputs, mini_batch_size);
  shape.pass = pass_of(differentiate);
  const std::size_t index = kernels.choose_index(call_of(shape));
  if (!differentiate) {
    const at::NoGradGuard no_grad;
    return kernels[index].run.forward(net, inputs, initial, mini_batch_size, nullptr);
  }
  return TttFunction::apply(at::TensorList(all), c10::make_intrusive<HeldNet>(net), mini_batch_size,
                            static_cast<std::int64_t>(index));
}

}  // namespace ttt
