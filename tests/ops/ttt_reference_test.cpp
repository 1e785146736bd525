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
  TttKind kind;
  TttSizes sizes;
  std::vector<std::pair<std::string, std::int64_t>> arrays;  // name, count

  FlatCall(TttKind call_kind, const TttSizes& call_sizes) : kind(call_kind), sizes(call_sizes) {
    const auto [B, H, T, K, M, C] = sizes;
    const std::int64_t width = kind == TttKind::kLinear ? K : M;
    arrays = {{"q", B * H * T * K}, {"k", B * H * T * K}, {"v", B * H * T * K},  {"sigma", B * H * T}, {"scale", C},
              {"gain", H * K},      {"bias", H * K},      {"w1", H * K * width}, {"b1", H * width}};
    if (kind == TttKind::kMlp) arrays.insert(arrays.end(), {{"w2", H * M * K}, {"b2", H * K}});
  }

  std::int64_t count() const {
    std::int64_t n = 0;
    for (const auto& [name, size] : arrays) n += size;
    return n;
  }

  template <class T>
  TttPointers<T> pointers(T* p) const {
    TttPointers<T> out;
    T** fields[] = {&out.q,    &out.k,  &out.v,  &out.sigma, &out.scale, &out.gain,
                    &out.bias, &out.w1, &out.b1, &out.w2,    &out.b2};
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      *fields[i] = p;
      p += arrays[i].second;
    }
    return out;
  }

  std::vector<double> forward(const std::vector<double>& x) const {
    std::vector<double> o(arrays[0].second, NAN);
    const auto run = kind == TttKind::kLinear ? kernels::ttt_linear_forward_reference<double>
                                              : kernels::ttt_mlp_forward_reference<double>;
    run(sizes, pointers<const double>(x.data()), o.data());
    return o;
  }

  std::vector<double> backward(const std::vector<double>& x, const std::vector<double>& grad_o) const {
    std::vector<double> grad(x.size(), NAN);
    const auto run = kind == TttKind::kLinear ? kernels::ttt_linear_backward_reference<double>
                                              : kernels::ttt_mlp_backward_reference<double>;
    run(sizes, pointers<const double>(x.data()), grad_o.data(), pointers<double>(grad.data()));
    return grad;
  }
};

class Kinds : public ::testing::TestWithParam<TttKind> {};
INSTANTIATE_TEST_SUITE_P(TttReference, Kinds, ::testing::Values(TttKind::kLinear, TttKind::kMlp),
                         [](const auto& p) { return p.param == TttKind::kLinear ? "Linear" : "Mlp"; });

// Three chained mini-batches of 4 and a tail of 3 (so the gradient passes through the state), every single number.
TEST_P(Kinds, BackwardMatchesFiniteDifferences) {
  const FlatCall call(GetParam(), {2, 2, 15, 5, 7, 4});
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(0.2, 1.0);
  std::vector<double> x, grad_o(call.arrays[0].second);
  for (const auto& [name, size] : call.arrays) {
    for (std::int64_t i = 0; i < size; ++i) {
      const double n = normal(random), u = uniform(random);
      x.push_back(name == "sigma"   ? 0.3 * u
                  : name == "scale" ? u
                  : name == "gain"  ? 1 + 0.2 * n
                  : name[0] == 'w'  ? 0.5 * n
                                    : n);
    }
  }
  for (double& g : grad_o) g = normal(random);
  const std::vector<double> gradient = call.backward(x, grad_o);

  // Five points: the error is O(h^4).
  const double h = 1e-3;
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
    EXPECT_GT(largest, 1e-3) << name;
    EXPECT_LE(difference / largest, 1e-7) << name;
    worst = std::max(worst, difference / largest);
    begin += size;
  }
  RecordProperty("worst_relative_error", (std::ostringstream() << worst).str());
}

// Gradients of whole sequences through the primal form, whose inner gradients autograd finds from the loss: checks
// primal = dual, and the backward pass, to rounding.
TEST_P(Kinds, MatchesAutogradThroughThePrimalForm) {
  const TttKernel& kernel = ttt_kernels(GetParam()).back();
  ASSERT_EQ(kernel.name, "reference");
  for (const std::int64_t time : {1, 3, 4, 5, 14}) {
    const Sizes s{GetParam(), 2, 3, time, 6, 4};
    Arguments a = testing::random_arguments(s);
    const at::Tensor grad_o = at::randn({2, 3, time, 6}, at::kDouble);
    const at::Tensor o = kernel.run.forward(s.kind, a.inputs, a.weights, s.mini_batch, nullptr);
    const TttGradients actual = kernel.run.backward(s.kind, grad_o, a.inputs, a.weights, s.mini_batch, {});

    std::vector<at::Tensor> leaves;
    for (const auto& [name, tensor] : a.named()) leaves.push_back(tensor.detach().requires_grad_(true));
    Arguments d = a;
    d.inputs = {leaves[0], leaves[1], leaves[2], leaves[3], leaves[4], leaves[5], leaves[6]};
    d.weights = {leaves[7], leaves[8], {}, {}};
    if (s.kind == TttKind::kMlp) d.weights.w2 = leaves[9], d.weights.b2 = leaves[10];
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

TEST_P(Kinds, ScaleRowsThatDoNotOccurGetZero) {
  const Sizes s{GetParam(), 1, 2, 3, 5, 8};
  const Arguments a = testing::random_arguments(s);
  for (const TttKernel& kernel : ttt_kernels(s.kind)) {
    if (!takes(kernel.needs, call_of(shape_of(a.inputs, s.mini_batch)))) continue;
    TttSaved saved;
    kernel.run.forward(s.kind, a.inputs, a.weights, s.mini_batch, &saved);
    const TttGradients g =
        kernel.run.backward(s.kind, at::randn({1, 2, 3, 5}, at::kDouble), a.inputs, a.weights, s.mini_batch, saved);
    EXPECT_GT(g.inputs.scale_C.narrow(0, 0, 3).abs().min().item<double>(), 0) << kernel.name;
    EXPECT_EQ(g.inputs.scale_C.narrow(0, 3, 5).abs().max().item<double>(), 0) << kernel.name;
  }
}

// The tanh form and the erf form of GELU differ by up to 5e-4: a kernel with the wrong one fails here.
TEST(TttReference, GeluIsTheTanhForm) {
  const Sizes s{TttKind::kMlp, 1, 1, 1, 6, 4};
  const Arguments a = testing::random_arguments(s);
  // With sigma = 0: O = Q + LN(phi(Q W1 + c1) W2 + c2)
  Arguments frozen = a;
  frozen.inputs.sigma_BHT = at::zeros_like(a.inputs.sigma_BHT);
  const at::Tensor q = a.inputs.q_BHTK[0];
  const auto expected = [&](const char* form) {
    const at::Tensor z =
        at::matmul(at::gelu(at::matmul(q, a.weights.w1) + a.weights.b1, form), a.weights.w2) + a.weights.b2;
    return (q + at::layer_norm(z, {6}, a.inputs.gain_HK[0], a.inputs.bias_HK[0], 1e-6)).unsqueeze(0);
  };
  for (const TttKernel& kernel : ttt_kernels(s.kind)) {
    if (!takes(kernel.needs, call_of(shape_of(a.inputs, s.mini_batch)))) continue;
    const at::Tensor o = kernel.run.forward(s.kind, frozen.inputs, frozen.weights, s.mini_batch, nullptr);
    EXPECT_LE(testing::relative_error(o, expected("tanh")), 1e-13) << kernel.name;
    EXPECT_GT(testing::relative_error(o, expected("none")), 1e-5) << kernel.name;
  }
}

}  // namespace
}  // namespace ttt
