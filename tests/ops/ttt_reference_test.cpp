// The reference kernels, on which every other kernel's tests rest: against central finite differences (no tensor
// library's algebra involved) and against autograd through the primal form.
#include "kernels/reference/ttt_reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ops/ttt_kernels.h"
#include "ops/ttt_testing.h"

namespace ttt {
namespace {

using kernels::TttPointers;
using kernels::TttSizes;
using testing::Arguments;
using testing::Sizes;

// All arrays of a call in one vector, so that every one of them is differentiated in the same way.
struct FlatCall {
  TttNet net;
  TttSizes sizes;
  std::int64_t hidden;
  std::vector<std::pair<std::string, std::int64_t>> arrays;  // name, count

  FlatCall(const TttNet& of, const TttSizes& call_sizes, std::int64_t width)
      : net(of), sizes(call_sizes), hidden(width) {
    const auto [B, H, T, K, C] = sizes;
    arrays = {{"q", B * H * T * K}, {"k", B * H * T * K}, {"v", B * H * T * K}, {"sigma", B * H * T},
              {"scale", C},         {"gain", H * K},      {"bias", H * K}};
    for (std::size_t l = 0; l < net.layers.size(); ++l) {
      arrays.emplace_back(net.layers[l].weight, H * in(l)*out(l));
      arrays.emplace_back(net.layers[l].bias, H * out(l));
    }
  }

  std::int64_t in(std::size_t l) const { return l == 0 ? sizes.head_dim : hidden; }
  std::int64_t out(std::size_t l) const { return l + 1 == net.layers.size() ? sizes.head_dim : hidden; }

  std::int64_t count() const {
    std::int64_t n = 0;
    for (const auto& [name, size] : arrays) n += size;
    return n;
  }

  template <class T>
  TttPointers<T> pointers(T* p) const {
    std::vector<T*> starts;
    for (const auto& [name, size] : arrays) {
      starts.push_back(p);
      p += size;
    }
    TttPointers<T> all{starts[0], starts[1], starts[2], starts[3], starts[4], starts[5], starts[6]};
    for (std::size_t l = 0; l < net.layers.size(); ++l)
      all.layers.push_back({starts[7 + 2 * l], starts[8 + 2 * l], in(l), out(l)});
    return all;
  }

  std::vector<double> forward(const std::vector<double>& x) const {
    std::vector<double> o(arrays[0].second, NAN);
    kernels::ttt_forward_reference<double>(sizes, net.learner, pointers<const double>(x.data()), o.data(), net.update);
    return o;
  }

  std::vector<double> backward(const std::vector<double>& x, const std::vector<double>& grad_o) const {
    std::vector<double> grad(x.size(), NAN);
    kernels::ttt_backward_reference<double>(sizes, net.learner, pointers<const double>(x.data()), grad_o.data(),
                                            pointers<double>(grad.data()), net.update);
    return grad;
  }
};

class Nets : public ::testing::TestWithParam<TttNet> {};
INSTANTIATE_TEST_SUITE_P(TttReference, Nets, testing::the_papers_nets(), testing::name_of_param());

// Three chained mini-batches of 4 and a tail of 3 (so the gradient passes through the state), every single number.
void check_differences(const TttNet& net) {
  const FlatCall call(net, {2, 2, 15, 5, 4}, 7);
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(0.2, 1.0);
  std::vector<double> x, grad_o(call.arrays[0].second);
  for (const auto& [name, size] : call.arrays) {
    for (std::int64_t i = 0; i < size; ++i) {
      const double n = normal(random), u = uniform(random);
      x.push_back(name == "sigma"   ? (net.learner.layer_norm ? 0.3 : 0.03) * u
                  : name == "scale" ? u
                  : name == "gain"  ? 1 + 0.2 * n
                  : name[0] == 'w'  ? 0.5 * n
                                    : n);
    }
  }
  for (double& g : grad_o) g = normal(random);
  const std::vector<double> gradient = call.backward(x, grad_o);

  // Five points: the error is O(h^4).
  const double h = 3e-4;
  const auto value = [&](std::int64_t i, double step) {
    std::vector<double> moved = x;
    moved[i] += step;
    const std::vector<double> o = call.forward(moved);
    double sum = 0;
    for (std::size_t j = 0; j < o.size(); ++j) sum += o[j] * grad_o[j];
    return sum;
  };
  std::int64_t begin = 0;
  double worst = 0;
  for (const auto& [name, size] : call.arrays) {
    double largest = 0, difference = 0;
    for (std::int64_t i = begin; i < begin + size; ++i) {
      const double numeric = (8 * (value(i, h) - value(i, -h)) - (value(i, 2 * h) - value(i, -2 * h))) / (12 * h);
      largest = std::max(largest, std::abs(numeric));
      difference = std::max(difference, std::isfinite(gradient[i]) ? std::abs(gradient[i] - numeric) : INFINITY);
    }
    begin += size;
    if (!call.net.learner.layer_norm && (name == "gain" || name == "bias")) {  // the LayerNorm's
      EXPECT_EQ(difference, 0) << name;
      continue;
    }
    EXPECT_GT(largest, 1e-3) << name;
    EXPECT_LE(difference / largest, 1e-7) << name;
    worst = std::max(worst, difference / largest);
  }
  ::testing::Test::RecordProperty("worst_relative_error", (std::ostringstream() << worst).str());
}

TEST_P(Nets, BackwardMatchesFiniteDifferences) {
  check_differences(GetParam());
}

// Gradients of whole sequences through the primal form, whose inner gradients autograd finds from the loss: checks
// primal = dual, and the backward pass, to rounding.
void check_primal(const TttNet& net) {
  const TttKernel& kernel = ttt_kernels(net).back();
  ASSERT_EQ(kernel.name, "reference");
  for (const std::int64_t time : {1, 3, 4, 5, 14}) {
    const Sizes s{net, 2, 3, time, 6, 4};
    Arguments a = testing::random_arguments(s);
    const at::Tensor grad_o = at::randn({2, 3, time, 6}, at::kDouble);
    const at::Tensor o = kernel.run.forward(s.net, a.inputs, a.weights, s.mini_batch, nullptr);
    const TttGradients actual = kernel.run.backward(s.net, grad_o, a.inputs, a.weights, s.mini_batch, {});

    const auto [leaves, d] = testing::leaves_of(a);
    const at::Tensor expected_o = testing::primal_forward(s, d);
    EXPECT_LE(testing::relative_error(o, expected_o.detach()), 1e-12) << s;
    const auto expected = torch::autograd::grad({expected_o}, leaves, {grad_o}, {}, false, /*allow_unused=*/true);
    const auto got = testing::named(actual);
    for (std::size_t i = 0; i < got.size(); ++i) {
      const at::Tensor e = expected[i].defined() ? expected[i] : at::zeros_like(got[i].second);
      EXPECT_LE(testing::relative_error(got[i].second, e), 1e-10) << "gradient of " << got[i].first << ", " << s;
    }
  }
}

TEST_P(Nets, MatchesAutogradThroughThePrimalForm) {
  check_primal(GetParam());
}

TEST(TttReference, OtherInnerNets) {
  for (const TttNet& net : testing::other_nets()) {
    SCOPED_TRACE(name_of(net));
    check_differences(net);
    check_primal(net);
  }
}

TEST_P(Nets, ScaleRowsThatDoNotOccurGetZero) {
  const Sizes s{GetParam(), 1, 2, 3, 5, 8};
  const Arguments a = testing::random_arguments(s);
  for (const TttKernel& kernel : ttt_kernels(s.net)) {
    if (!takes(kernel.needs, call_of(shape_of(s.net, a.inputs, s.mini_batch)))) continue;
    TttSaved saved;
    kernel.run.forward(s.net, a.inputs, a.weights, s.mini_batch, &saved);
    const TttGradients g =
        kernel.run.backward(s.net, at::randn({1, 2, 3, 5}, at::kDouble), a.inputs, a.weights, s.mini_batch, saved);
    EXPECT_GT(g.inputs.scale_C.narrow(0, 0, 3).abs().min().item<double>(), 0) << kernel.name;
    EXPECT_EQ(g.inputs.scale_C.narrow(0, 3, 5).abs().max().item<double>(), 0) << kernel.name;
  }
}

// The tanh form and the erf form of GELU differ by up to 5e-4: a kernel with the wrong one fails here.
TEST(TttReference, GeluIsTheTanhForm) {
  const Sizes s{ttt_mlp_net(), 1, 1, 1, 6, 4};
  const Arguments a = testing::random_arguments(s);
  // With sigma = 0: O = Q + LN(phi(Q W1 + c1) W2 + c2)
  Arguments frozen = a;
  frozen.inputs.sigma_BHT = at::zeros_like(a.inputs.sigma_BHT);
  const at::Tensor q = a.inputs.q_BHTK[0];
  const auto expected = [&](const char* form) {
    const at::Tensor z =
        at::matmul(at::gelu(at::matmul(q, a.weights[0]) + a.weights[1], form), a.weights[2]) + a.weights[3];
    return (q + at::layer_norm(z, {6}, a.inputs.gain_HK[0], a.inputs.bias_HK[0], 1e-6)).unsqueeze(0);
  };
  for (const TttKernel& kernel : ttt_kernels(s.net)) {
    if (!takes(kernel.needs, call_of(shape_of(s.net, a.inputs, s.mini_batch)))) continue;
    const at::Tensor o = kernel.run.forward(s.net, frozen.inputs, frozen.weights, s.mini_batch, nullptr);
    EXPECT_LE(testing::relative_error(o, expected("tanh")), 1e-13) << kernel.name;
    EXPECT_GT(testing::relative_error(o, expected("none")), 1e-5) << kernel.name;
  }
}

}  // namespace
}  // namespace ttt
