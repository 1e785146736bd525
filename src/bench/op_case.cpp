#include "bench/op_case.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <limits>

namespace ttt {

const std::vector<BenchOp>& op_table() {
  static const std::vector<BenchOp> table = {
      {"ttt_linear", "TTT-Linear's inner loop", ttt_linear_case},
      {"ttt_mlp", "TTT-MLP's inner loop", ttt_mlp_case},
  };
  return table;
}

Contender autograd_contender(std::string name, double units, const Tensors& leaves, const at::Tensor& grad,
                             std::function<at::Tensor(const Tensors&)> function) {
  Contender contender;
  contender.name = std::move(name);
  contender.units = units;
  contender.forward = [leaves, function] {
    const torch::NoGradGuard no_grad;
    return Tensors{function(leaves)};
  };
  contender.forward_backward = [leaves, grad, function] {
    Tensors own;
    for (const at::Tensor& leaf : leaves) own.push_back(leaf.detach().requires_grad_(true));
    const at::Tensor output = function(own);
    const Tensors gradients = torch::autograd::grad({output}, own, {grad});
    Tensors all = {output.detach()};
    all.insert(all.end(), gradients.begin(), gradients.end());
    return all;
  };
  return contender;
}

double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes() || !at::isfinite(actual).all().item<bool>())
    return std::numeric_limits<double>::infinity();
  const at::Tensor exact = expected.to(at::kDouble);
  const double largest = exact.abs().max().item<double>();
  const double difference = (actual.to(at::kDouble) - exact).abs().max().item<double>();
  return difference == 0 ? 0 : difference / largest;
}

}  // namespace ttt
