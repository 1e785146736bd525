// Shared by the TTT op's tests: random arguments, comparison, and an independent oracle.
//
// Shapes: B batch, H heads, T time, K head size, M = 4K the inner nets' hidden width, C mini-batch.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

#include "ops/ttt.h"

namespace ttt {

// "Linear", "MlpWithoutResidual": a part of a test's name.
inline std::string name_of(const TttNet& net) {
  const char* depth[] = {"", "Linear", "Mlp", "ThreeLayers"};
  const char* steps[] = {"", "", "TwoSteps", "ThreeSteps"};
  return std::string(depth[net.layers.size()]) + (net.learner.layer_norm ? "" : "WithoutNorm") +
         (net.learner.residual ? "" : "WithoutResidual") + (net.update.biases ? "" : "WithoutBiases") +
         steps[net.update.steps];
}
inline void PrintTo(const TttNet& net, std::ostream* out) {
  *out << name_of(net);
}

}  // namespace ttt

namespace ttt::testing {

inline TttNet net_of(std::size_t layers, const kernels::TttLearner& learner = {},
                     const kernels::TttUpdate& update = {}) {
  TttNet net{{}, learner, update};
  for (std::size_t l = 1; l <= layers; ++l) net.layers.push_back({"w" + std::to_string(l), "b" + std::to_string(l)});
  return net;
}

// TTT-Linear and TTT-MLP, which every row takes.
inline auto the_papers_nets() {
  return ::testing::Values(ttt_linear_net(), ttt_mlp_net());
}
// Nets that only the reference and the composed row take.
inline std::vector<TttNet> other_nets() {
  const kernels::TttLearner no_norm{.layer_norm = false}, no_residual{.residual = false}, neither{false, false};
  const kernels::TttUpdate no_biases{.biases = false}, two_steps{.steps = 2}, three_steps{.biases = false, .steps = 3};
  return {net_of(3),
          net_of(1, no_norm),
          net_of(2, no_norm),
          net_of(1, no_residual),
          net_of(2, no_residual),
          net_of(3, neither),
          net_of(1, {}, no_biases),
          net_of(2, {}, no_biases),
          net_of(1, neither, no_biases),
          net_of(1, {}, two_steps),
          net_of(1, neither, three_steps),
          net_of(3, no_residual, two_steps),
          net_of(2, no_residual, three_steps)};
}
inline std::vector<TttNet> all_nets() {
  std::vector<TttNet> nets = other_nets();
  nets.insert(nets.begin(), {ttt_linear_net(), ttt_mlp_net()});
  return nets;
}
inline auto name_of_param() {
  return [](const auto& p) { return name_of(p.param); };
}

struct Sizes {
  TttNet net;
  std::int64_t batch, heads, time, head_dim, mini_batch;
  at::ScalarType dtype = at::kDouble;
  friend std::ostream& operator<<(std::ostream& out, const Sizes& s) {
    return out << name_of(s.net) << " B " << s.batch << " H " << s.heads << " T " << s.time << " K " << s.head_dim
               << " C " << s.mini_batch << " " << s.dtype;
  }
};

struct Arguments {
  TttInputs inputs;
  TttWeights weights;

  std::vector<std::pair<std::string, at::Tensor>> named() const {
    std::vector<std::pair<std::string, at::Tensor>> all = {
        {"q", inputs.q_BHTK},      {"k", inputs.k_BHTK},     {"v", inputs.v_BHTK},    {"sigma", inputs.sigma_BHT},
        {"scale", inputs.scale_C}, {"gain", inputs.gain_HK}, {"bias", inputs.bias_HK}};
    for (std::size_t i = 0; i < weights.size(); ++i)
      all.emplace_back((i % 2 == 0 ? "w" : "b") + std::to_string(i / 2 + 1), weights[i]);
    return all;
  }
  // The same tensors, to be replaced.
  std::vector<at::Tensor*> all() {
    std::vector<at::Tensor*> tensors = {&inputs.q_BHTK,  &inputs.k_BHTK,  &inputs.v_BHTK, &inputs.sigma_BHT,
                                        &inputs.scale_C, &inputs.gain_HK, &inputs.bias_HK};
    for (at::Tensor& w : weights) tensors.push_back(&w);
    return tensors;
  }
};

// The arguments as leaves of autograd, and the arguments made of them.
inline std::pair<std::vector<at::Tensor>, Arguments> leaves_of(const Arguments& a) {
  Arguments d = a;
  std::vector<at::Tensor> leaves;
  for (at::Tensor* tensor : d.all()) {
    *tensor = tensor->detach().clone().requires_grad_(true);
    leaves.push_back(*tensor);
  }
  return {leaves, d};
}

// Values of the sizes that training has, away from every symmetry. sigma_factor: sigma is up to sigma_factor / K.
inline Arguments random_arguments(const Sizes& s, std::uint64_t seed = 1, double sigma_factor = 2.0) {
  at::manual_seed(seed);
  const auto o = at::TensorOptions(at::kDouble);
  const std::int64_t B = s.batch, H = s.heads, T = s.time, K = s.head_dim, C = s.mini_batch, M = 4 * K;
  Arguments a;
  // q and v as a layer hands them over: views of [B,T,H,K]
  a.inputs.q_BHTK = at::randn({B, T, H, K}, o).transpose(1, 2);
  a.inputs.k_BHTK = at::randn({B, H, T, K}, o);
  a.inputs.v_BHTK = at::randn({B, T, H, K}, o).transpose(1, 2);
  a.inputs.sigma_BHT = (0.2 + 0.8 * at::rand({B, H, T}, o)) * (sigma_factor / static_cast<double>(K));
  a.inputs.scale_C = 1.0 / at::arange(1, C + 1, o) + 0.1 * at::rand({C}, o);
  a.inputs.gain_HK = 1 + 0.2 * at::randn({H, K}, o);
  a.inputs.bias_HK = 0.2 * at::randn({H, K}, o);
  for (std::size_t l = 0; l < s.net.layers.size(); ++l) {
    const std::int64_t in = l == 0 ? K : M, out = l + 1 == s.net.layers.size() ? K : M;
    a.weights.push_back(at::randn({H, in, out}, o) / std::sqrt(static_cast<double>(in)));
    a.weights.push_back(0.2 * at::randn({H, 1, out}, o));
  }
  for (at::Tensor* t : a.all()) *t = t->to(s.dtype);
  return a;
}

// Largest difference relative to the expected tensor's largest value; infinite when a value is not finite or shapes
// differ.
inline double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes() || !at::isfinite(actual).all().item<bool>()) return INFINITY;
  const at::Tensor e = expected.to(at::kDouble);
  const double largest = e.abs().max().item<double>(),
               difference = (actual.to(at::kDouble) - e).abs().max().item<double>();
  return difference == 0 ? 0 : difference / largest;
}

// All gradients of sum(grad_o (.) O) by name.
inline std::vector<std::pair<std::string, at::Tensor>> named(const TttGradients& g) {
  return Arguments{g.inputs, g.initial}.named();
}

inline void expect_close(const TttGradients& actual, const TttGradients& expected, double tolerance,
                         const std::string& what) {
  const auto a = named(actual), e = named(expected);
  ASSERT_EQ(a.size(), e.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_LE(relative_error(a[i].second, e[i].second), tolerance) << "gradient of " << a[i].first << ", " << what;
  }
}

// The row of plain loops, the specification.
inline const TttKernel& reference(const TttNet& net) {
  return ttt_kernels(net).back();
}

// One row, forward and backward.
struct Result {
  at::Tensor o;
  TttGradients gradients;
};

inline Result run(const TttKernel& kernel, const Sizes& s, const Arguments& a, const at::Tensor& grad_o) {
  TttSaved saved;
  const at::Tensor o = kernel.run.forward(s.net, a.inputs, a.weights, s.mini_batch, &saved);
  return {o, kernel.run.backward(s.net, grad_o, a.inputs, a.weights, s.mini_batch, saved)};
}

inline void expect_close(const Result& actual, const Result& expected, double tolerance, const std::string& what) {
  EXPECT_LE(relative_error(actual.o, expected.o), tolerance) << "output, " << what;
  expect_close(actual.gradients, expected.gradients, tolerance, what);
}

inline at::Tensor random_grad(const Sizes& s) {
  return at::randn({s.batch, s.time, s.heads, s.head_dim}, at::kDouble).to(s.dtype).transpose(1, 2);
}

// at::empty gives NaN while one of these lives: a kernel that reads what it did not write shows it.
class PoisonedMemory {
 public:
  PoisonedMemory() { at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true); }
  ~PoisonedMemory() { at::globalContext().setDeterministicAlgorithms(false, false); }
  PoisonedMemory(const PoisonedMemory&) = delete;
  PoisonedMemory& operator=(const PoisonedMemory&) = delete;
};

// One CPU thread while it lives: small cases lose more to waiting for each other's threads than they gain.
class SingleThread {
 public:
  SingleThread() { at::set_num_threads(1); }
  ~SingleThread() { at::set_num_threads(threads_); }
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;

 private:
  int threads_ = at::get_num_threads();
};

// The oracle: the primal form, token by token, with the inner gradients taken by autograd from the inner loss as the
// paper writes it; nothing of the kernels' algebra is in it. Differentiable. The weights that token i's output is
// computed with are W_i^n, after n gradient steps,
//     W_i^m = W - s_i sum_{p<=m} sum_{j<=i} sigma_j dL_j/dW (W_j^{p-1}),   L_j = 1/2 ||LN(f(k_j; W)) - (v_j - k_j)||^2
// (or as the net's learner has it), W = W_i^0 being the weights at the start of the mini-batch.
inline at::Tensor primal_forward(const Sizes& s, const Arguments& a) {
  const TttInputs& in = a.inputs;
  const auto model = [&](const at::Tensor& x_BHK, const std::vector<at::Tensor>& w) {
    const auto affine = [](const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
      return (at::matmul(x.unsqueeze(2), weight) + bias).squeeze(2);
    };
    at::Tensor z = affine(x_BHK, w[0], w[1]);
    for (std::size_t l = 1; 2 * l < w.size(); ++l) z = affine(at::gelu(z, "tanh"), w[2 * l], w[2 * l + 1]);
    if (!s.net.learner.layer_norm) return z;
    const at::Tensor centred = z - z.mean(-1, true);
    return centred / at::sqrt(centred.square().mean(-1, true) + 1e-6) * in.gain_HK + in.bias_HK;
  };
  std::vector<at::Tensor> w;
  for (const at::Tensor& t : a.weights) w.push_back(t.unsqueeze(0).repeat({s.batch, 1, 1, 1}));
  for (at::Tensor& t : w) {
    if (!t.requires_grad()) t.requires_grad_(true);  // for the inner gradient
  }
  std::vector<at::Tensor> outputs;
  std::vector<at::Tensor> current;
  const auto steps = static_cast<std::size_t>(s.net.update.steps);
  std::vector<std::vector<at::Tensor>> sums;  // by step: sum_j sigma_j dL_j/dW
  for (std::int64_t t = 0; t < s.time; ++t) {
    const std::int64_t i = t % s.mini_batch;
    if (i == 0) sums.assign(steps, std::vector<at::Tensor>(w.size()));
    const at::Tensor q = in.q_BHTK.select(2, t), k = in.k_BHTK.select(2, t), v = in.v_BHTK.select(2, t);
    const at::Tensor target = s.net.learner.residual ? v - k : v;
    const at::Tensor sigma = in.sigma_BHT.select(2, t).unsqueeze(-1).unsqueeze(-1);
    current = w;
    for (std::size_t m = 0; m < steps; ++m) {
      const at::Tensor loss = 0.5 * (model(k, current) - target).square().sum();
      const auto gradients = torch::autograd::grad({loss}, {current.begin(), current.end()}, {}, /*retain_graph=*/true,
                                                   /*create_graph=*/true);
      for (std::size_t p = 0; p < w.size(); ++p) {
        const bool is_bias = p % 2 == 1;
        if (is_bias && !s.net.update.biases) continue;
        at::Tensor& sum = sums[m][p];
        sum = sum.defined() ? sum + sigma * gradients[p] : sigma * gradients[p];
        current[p] = current[p] - in.scale_C[i] * sum;
      }
    }
    const at::Tensor y = model(q, current);
    outputs.push_back(s.net.learner.residual ? q + y : y);
    if (i + 1 == s.mini_batch) w = current;
  }
  return at::stack(outputs, 2);
}

}  // namespace ttt::testing
