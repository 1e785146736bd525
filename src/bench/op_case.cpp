#include "bench/op_case.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <limits>

#include "base/error.h"

namespace ttt {

const std::vector<BenchOp>& op_table() {
  static const std::vector<BenchOp> table = {
      {"ttt_linear", "TTT-Linear's inner loop", ttt_linear_case},
      {"ttt_mlp", "TTT-MLP's inner loop", ttt_mlp_case},
      {"gated_delta", "the gated delta rule, values of twice the keys' head size", gated_delta_case},
      {"attention", "causal softmax attention", attention_case},
      {"selective_scan", "Mamba's scan", selective_scan_case},
      {"linear", "a dense layer", linear_case},
      {"rms_norm", "RMSNorm", rms_norm_case},
      {"swiglu", "SwiGLU's elementwise part", swiglu_case},
      {"layer_norm_gate", "heads merged, LayerNorm, gate", layer_norm_gate_case},
      {"causal_conv", "the short convolution", causal_conv_case},
      {"rope", "rotary embedding and the split into heads", rope_case},
      {"conv_rope", "two short convolutions of the same rows, each rotated and split into heads", conv_rope_case},
      {"conv_silu", "the short convolution without bias, and silu of it", conv_silu_case},
      {"cross_entropy", "the head and its loss, chunk by chunk", cross_entropy_case},
      {"adamw", "clipping and AdamW", adamw_case},
  };
  return table;
}

RandomTensors::RandomTensors(const OpSizes& sizes, std::uint64_t seed) : options_(at::kDouble) {
  if (sizes.exact || sizes.device.is_cpu()) {
    generator_ = at::make_generator<at::CPUGeneratorImpl>(seed);
  } else {
    options_ = at::TensorOptions(sizes.device).dtype(at::kFloat);
    torch::manual_seed(seed);
  }
}

at::Tensor RandomTensors::normal(at::IntArrayRef sizes, double std_dev) {
  return at::randn(sizes, generator_, options_).mul_(std_dev);
}

at::Tensor RandomTensors::below(std::int64_t bound, at::IntArrayRef sizes) {
  return at::randint(0, bound, sizes, generator_, options_.dtype(at::kLong));
}

Tensors to_type(const Tensors& tensors, at::ScalarType dtype) {
  Tensors all;
  for (const at::Tensor& tensor : tensors) all.push_back(tensor.to(dtype));
  return all;
}

Tensors to_device(const Tensors& tensors, at::Device device) {
  Tensors all;
  for (const at::Tensor& tensor : tensors) all.push_back(tensor.to(device));
  return all;
}

Contender autograd_contender(std::string name, double units, const Tensors& leaves, const at::Tensor& grad,
                             OpFunction function) {
  Contender contender;
  contender.name = std::move(name);
  contender.units = units;
  contender.arguments = leaves;
  contender.forward = [leaves, function] {
    const torch::NoGradGuard no_grad;
    return Tensors{function(leaves)};
  };
  contender.forward_backward = [leaves, grad, function] {
    Tensors own;
    for (const at::Tensor& leaf : leaves) own.push_back(leaf.detach().requires_grad_(true));
    const at::Tensor output = function(own);
    const Tensors gradients =
        torch::autograd::grad({output}, own, {grad}, std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);
    Tensors all = {output.detach()};
    for (std::size_t i = 0; i < own.size(); ++i)
      all.push_back(gradients[i].defined() ? gradients[i] : at::zeros_like(own[i]));
    return all;
  };
  return contender;
}

OpFunction on_row(const KernelTable& table, std::size_t row, OpFunction function) {
  return [&table, row, function = std::move(function)](const Tensors& arguments) {
    const ForcedRow forced(table, row);
    return function(arguments);
  };
}

std::vector<std::size_t> rows_that_take(OpCase& op, const KernelTable& table, const OpSizes& sizes) {
  const KernelCall call =
      table.call_in_model(sizes.device, sizes.dtype == at::kBFloat16, sizes.head_dim, sizes.mini_batch);
  std::vector<std::size_t> rows;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::string reason = table.why_not(i, call);
    if (reason.empty()) {
      rows.push_back(i);
    } else {
      op.left_out.push_back(table.row(i).name + ": " + reason);
    }
  }
  TTT_CHECK(!rows.empty(), table.op());
  return rows;
}

void add_autograd_contenders(OpCase& op, const KernelTable& table, const OpSizes& sizes, double units,
                             const Tensors& arguments, at::IntArrayRef output_sizes, const OpFunction& function,
                             const OpFunction& naive) {
  const std::vector<std::size_t> rows = rows_that_take(op, table, sizes);
  const Tensors leaves = to_device(arguments, sizes.device);
  at::ScalarType output_type;
  {
    const torch::NoGradGuard no_grad;
    output_type = on_row(table, rows.front(), function)(leaves).scalar_type();
  }
  const at::Tensor grad = RandomTensors(sizes, /*seed=*/2).normal(output_sizes, 1).to(output_type);
  std::shared_ptr<const Tensors> exact;
  if (sizes.exact) {
    // From the rounded arguments: rounding them is not the op's error.
    const Contender widened =
        autograd_contender("fp64", units, to_type(arguments, at::kDouble), grad.to(at::kDouble), naive);
    exact = std::make_shared<const Tensors>(widened.forward_backward());
  }
  const at::Tensor own_grad = grad.to(sizes.device);
  for (const std::size_t row : rows)
    op.contenders.push_back(
        autograd_contender(table.row(row).name, units, leaves, own_grad, on_row(table, row, function)));
  op.contenders.push_back(autograd_contender("naive", units, leaves, own_grad, naive));
  op.contenders.back().note = "ATen calls, autograd";
  for (Contender& contender : op.contenders) contender.exact = exact;
  op.as_called = autograd_contender("", units, leaves, own_grad, function).forward_backward;
}

double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes() || !at::isfinite(actual).all().item<bool>())
    return std::numeric_limits<double>::infinity();
  const at::Tensor exact = expected.to(at::kCPU, at::kDouble);
  const double largest = exact.abs().max().item<double>();
  const double difference = (actual.to(at::kCPU, at::kDouble) - exact).abs().max().item<double>();
  return difference == 0 ? 0 : difference / largest;
}

}  // namespace ttt
