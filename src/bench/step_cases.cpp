// What happens once a step, for `ttt bench op`: the head's cross-entropy, and AdamW with clipping.
#include <ATen/ATen.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "base/error.h"
#include "bench/op_case.h"
#include "ops/cross_entropy.h"
#include "optim/adamw.h"

namespace ttt {
namespace {

constexpr double kLr = 1e-3;
constexpr double kClip = 0.99;  // of the gradients' norm, each time

// One way to update the same parameters over and over: gradients that are clipped each time to a little less than
// before.
class Update {
 public:
  Update(const Tensors& parameters, const Tensors& gradients, at::ScalarType dtype, at::Device device) {
    const auto own = [&](const at::Tensor& x) { return x.to(device, dtype, /*non_blocking=*/false, /*copy=*/true); };
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor& p = parameters_.emplace_back(own(parameters[i]));
      p.requires_grad_(true).mutable_grad() = own(gradients[i]);
      exp_avg_.push_back(at::zeros_like(p.grad()));
      exp_avg_sq_.push_back(at::zeros_like(p.grad()));
    }
    max_norm_ = global_norm(parameter_gradients()).item<double>();
  }

  Tensors with(AdamW& optimizer) {
    optimizer.clip_gradients(max_norm_ *= kClip);
    optimizer.step(kLr);
    return {parameters_.front().detach()};
  }

  // The same as ATen calls, one tensor after the other.
  Tensors naive(const OptimConfig& config) {
    const torch::NoGradGuard no_grad;
    ++updates_;
    Tensors norms;
    for (const at::Tensor& gradient : parameter_gradients()) norms.push_back(at::linalg_vector_norm(gradient));
    const double factor = (max_norm_ *= kClip) / at::linalg_vector_norm(at::stack(norms)).item<double>();
    const double correction1 = 1 - std::pow(config.beta1, updates_), correction2 = 1 - std::pow(config.beta2, updates_);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      at::Tensor p = parameters_[i], g = p.grad(), m = exp_avg_[i], v = exp_avg_sq_[i];
      g.mul_(factor);
      m.mul_(config.beta1).add_(g, 1 - config.beta1);
      v.mul_(config.beta2).addcmul_(g, g, 1 - config.beta2);
      p.mul_(1 - kLr * config.weight_decay);
      p.addcdiv_(m / correction1, (v / correction2).sqrt_().add_(config.eps), -kLr);
    }
    return {parameters_.front().detach()};
  }

  NamedParameters named() const {
    NamedParameters all;
    for (std::size_t i = 0; i < parameters_.size(); ++i) all.emplace_back(cat("layers.", i, ".weight"), parameters_[i]);
    return all;
  }

 private:
  Tensors parameter_gradients() const {
    Tensors all;
    for (const at::Tensor& parameter : parameters_) all.push_back(parameter.grad());
    return all;
  }

  Tensors parameters_, exp_avg_, exp_avg_sq_;
  double max_norm_ = 0;
  int updates_ = 0;
};

}  // namespace

OpCase cross_entropy_case(const OpSizes& s) {
  RandomTensors random(s);
  const std::int64_t N = s.batch * s.context, D = s.width(), V = s.vocab;
  const at::Tensor drawn_N = random.below(V, {N});
  const auto targets = [host_N = drawn_N.cpu(), own_N = drawn_N.to(s.device)](const at::Tensor& x) {
    return x.is_cpu() ? host_N : own_N;
  };
  OpCase op;
  op.unit = "token";
  op.work.forward = 2 * static_cast<double>(D) * static_cast<double>(V);
  op.work.forward_backward = 3 * op.work.forward;
  op.work_note = cat("the head's three products with ", V, " tokens of vocabulary; logits that are computed again are ",
                     "not counted");
  add_autograd_contenders(
      op, cross_entropy_kernels(), s, static_cast<double>(N),
      {s.activation(random.normal({N, D}, 1)), s.wide(random.normal({V, D}, 0.02))}, {N},
      [=](const Tensors& a) { return token_cross_entropy(a[0], a[1], targets(a[0])); },
      [=](const Tensors& a) {
        const at::ScalarType type = multiplied_type(a[0].scalar_type(), s.device);
        const at::Tensor logits_NV = at::linear(a[0].to(type), a[1].to(type));
        return at::cross_entropy_loss(logits_NV.to(a[1].scalar_type()), targets(a[0]), {}, at::Reduction::None);
      });
  return op;
}

OpCase adamw_case(const OpSizes& s) {
  constexpr int kMatrices = 8;
  RandomTensors random(s);
  Tensors parameters, gradients;
  for (int i = 0; i < kMatrices; ++i) {
    parameters.push_back(random.normal({s.width(), s.mlp_width()}, 0.02).to(at::kFloat));
    gradients.push_back(random.normal({s.width(), s.mlp_width()}, 1e-3).to(at::kFloat));
  }
  const OptimConfig config;
  OpCase op;
  op.unit = "parameter";
  op.bound = Bound::kMemory;
  op.work.forward = 4 * (1 + 4 + 3);
  op.work_note = "fp32 alone; the gradient in for its norm; p, g, m, v in; p, m, v out";
  const double units = kMatrices * static_cast<double>(s.width() * s.mlp_width());
  std::shared_ptr<const Tensors> exact;
  if (s.exact)
    exact = std::make_shared<const Tensors>(Update(parameters, gradients, at::kDouble, at::kCPU).naive(config));

  const DecayOf decayed = [](const std::string&) { return Decay::kMatrix; };
  const auto updates = [=](const std::shared_ptr<AdamW>& optimizer, const std::shared_ptr<Update>& ours) {
    return [=] { return ours->with(*optimizer); };
  };
  const auto fresh = [=] { return std::make_shared<Update>(parameters, gradients, at::kFloat, s.device); };
  for (const std::size_t row : rows_that_take(op, adamw_kernels(), s)) {
    const ForcedRow forced(adamw_kernels(), row);  // an optimizer chooses once
    const auto ours = fresh();
    op.contenders.push_back({adamw_kernels().row(row).name,
                             units,
                             updates(std::make_shared<AdamW>(ours->named(), config, decayed), ours),
                             {},
                             exact,
                             "clipping included"});
  }
  op.as_called = [=] {
    const auto ours = fresh();
    AdamW optimizer(ours->named(), config, decayed);
    return ours->with(optimizer);
  };
  const auto naive = std::make_shared<Update>(parameters, gradients, at::kFloat, s.device);
  op.contenders.push_back(
      {"naive", units, [=] { return naive->naive(config); }, {}, exact, "ATen calls, a tensor at a time"});
  return op;
}

}  // namespace ttt
