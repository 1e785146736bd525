// The gated delta rule: the reference against finite differences in fp64 and against the definition in its simplest
// cases; every row against the reference, at sizes around chunks and vectors; splitting; large decays; determinism.
//
// Shapes: B batch, H heads, T time, K the keys' head size, V the values'.
#include "ops/gated_delta.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <vector>

#include "base/error.h"

namespace ttt {
namespace {

struct DeltaSizes {
  std::int64_t batch, heads, time, key_dim, value_dim;
  double decay = 0.3;       // g is -decay times an exponential of a normal value
  double largest_beta = 1;  // beta is below it
  friend std::ostream& operator<<(std::ostream& out, const DeltaSizes& s) {
    return out << "B " << s.batch << " H " << s.heads << " T " << s.time << " K " << s.key_dim << " V " << s.value_dim
               << " decay " << s.decay << " beta " << s.largest_beta;
  }
};

using Tensors = std::vector<at::Tensor>;

Tensors random_delta(const DeltaSizes& s, std::uint64_t seed = 1) {
  at::manual_seed(seed);
  const auto o = at::dtype(at::kDouble);
  const auto [B, H, T, K, V, decay, largest_beta] = s;
  // q and v as a layer hands them over: views of [B,T,H,K]. Keys have a common part, so that they overlap.
  return {at::randn({B, T, H, K}, o).transpose(1, 2), 0.7 * at::randn({B, H, T, K}, o) + at::randn({B, H, 1, K}, o),
          at::randn({B, T, H, V}, o).transpose(1, 2), -decay * at::randn({B, H, T}, o).exp(),
          largest_beta * at::rand({B, H, T}, o)};
}

GatedDeltaInputs delta_inputs(const Tensors& t) {
  return {t[0], t[1], t[2], t[3], t[4]};
}

Tensors of_type(const Tensors& tensors, at::ScalarType type) {
  Tensors all;
  for (const at::Tensor& t : tensors) all.push_back(t.to(type));
  return all;
}

const GatedDeltaKernel& delta_row(const std::string& name) {
  for (const GatedDeltaKernel& row : gated_delta_kernels())
    if (row.name == name) return row;
  fail("no row ", name);
}

// o and the five gradients of sum(grad_o o).
Tensors run_delta(const GatedDeltaKernel& row, const Tensors& in, const at::Tensor& grad_o) {
  const torch::NoGradGuard no_grad;
  GatedDeltaSaved saved;
  const at::Tensor o = row.run.forward(delta_inputs(in), nullptr, &saved);
  const GatedDeltaInputs d = row.run.backward(grad_o, delta_inputs(in), saved);
  return {o, d.q_BHTK, d.k_BHTK, d.v_BHTV, d.g_BHT, d.beta_BHT};
}

at::Tensor random_grad(const DeltaSizes& s) {
  at::manual_seed(99);
  return at::randn({s.batch, s.time, s.heads, s.value_dim}, at::kDouble).transpose(1, 2);
}

double delta_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (!at::isfinite(actual).all().item<bool>() || actual.sizes() != expected.sizes()) return INFINITY;
  const double largest = expected.abs().max().item<double>();
  return (actual.to(at::kDouble) - expected).abs().max().item<double>() / (largest > 0 ? largest : 1);
}

void expect_equal_rows(const Tensors& actual, const Tensors& expected, double tolerance, const DeltaSizes& s,
                       const std::string& row) {
  const char* const names[] = {"o", "dq", "dk", "dv", "dg", "dbeta"};
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_LT(delta_error(actual[i], expected[i]), tolerance) << row << ", " << s << ": " << names[i];
}

// Sizes around chunks of 64, blocks of 16 and vectors.
std::vector<DeltaSizes> delta_cases() {
  return {{1, 1, 1, 16, 16},         {2, 3, 5, 16, 32},          {1, 2, 16, 32, 16},        {2, 2, 63, 64, 64},
          {1, 2, 64, 64, 128},       {1, 2, 65, 16, 32},         {2, 1, 130, 64, 128},      {1, 2, 200, 64, 64, 0.02},
          {1, 1, 97, 96, 192},       {1, 2, 300, 16, 48, 0.001}, {1, 1, 80, 128, 256},      {1, 1, 70, 256, 64},
          {1, 2, 150, 64, 64, 30},   {1, 2, 150, 32, 64, 300},   {1, 2, 150, 64, 64, 0, 2}, {2, 2, 90, 64, 128, 0.1, 2},
          {1, 3, 100, 48, 80, 1, 1}, {1, 2, 70, 7, 13},          {2, 1, 129, 33, 66},       {1, 2, 64, 5, 5, 20, 2}};
}

TEST(GatedDelta, ReferenceIsTheRecurrence) {
  const DeltaSizes s{2, 2, 7, 5, 3};
  const Tensors in = random_delta(s);
  const at::Tensor o = delta_row("reference").run.forward(delta_inputs(in), nullptr, nullptr);
  const auto unit = [](const at::Tensor& x) { return x / (x.square().sum(-1, true) + 1e-6).sqrt(); };
  const at::Tensor q = unit(in[0]) / std::sqrt(5.0), k = unit(in[1]);
  at::Tensor S = at::zeros({2, 2, 5, 3}, at::kDouble);
  for (std::int64_t t = 0; t < s.time; ++t) {
    const at::Tensor k_t = k.select(2, t).unsqueeze(-1), v_t = in[2].select(2, t).unsqueeze(-2);
    const auto gate = [t](const at::Tensor& x) { return x.select(2, t).unsqueeze(-1).unsqueeze(-1); };
    S = gate(in[3]).exp() * S;
    S = S + gate(in[4]) * at::matmul(k_t, v_t - at::matmul(k_t.transpose(-1, -2), S));
    const at::Tensor o_t = at::matmul(q.select(2, t).unsqueeze(-2), S).squeeze(-2);
    EXPECT_LT(delta_error(o.select(2, t), o_t), 1e-13) << t;
  }
}

// With beta = 1, alpha = 1 and the same key twice, the second value replaces the first.
TEST(GatedDelta, ABetaOfOneReplacesTheValueOfAKey) {
  const auto o = at::dtype(at::kDouble);
  const at::Tensor key = at::randn({1, 1, 1, 16}, o), v = at::randn({1, 1, 2, 16}, o);
  const at::Tensor keys = key.expand({1, 1, 2, 16}), none = at::zeros({1, 1, 2}, o);
  for (const GatedDeltaKernel& row : gated_delta_kernels()) {
    const at::ScalarType type = row.name.starts_with("fused") ? at::kFloat : at::kDouble;
    const Tensors in = of_type({keys, keys, v, none, none + 1}, type);
    if (!takes(row.needs, gated_delta_call(16, 16, type))) continue;
    const at::Tensor read = 4 * row.run.forward(delta_inputs(in), nullptr, nullptr);  // q has a factor 1/sqrt(K)
    EXPECT_LT(delta_error(read, v), 1e-5) << row.name;
  }
}

TEST(GatedDelta, ReferenceGradientsAreFiniteDifferences) {
  for (const DeltaSizes& s : {DeltaSizes{1, 2, 6, 5, 3}, DeltaSizes{2, 1, 4, 3, 7, 2, 2}}) {
    const Tensors in = random_delta(s);
    const at::Tensor grad_o = random_grad(s);
    const Tensors all = run_delta(delta_row("reference"), in, grad_o);
    for (std::size_t i = 0; i < in.size(); ++i) {
      const at::Tensor x = in[i].contiguous(), gradient = all[i + 1].contiguous();
      at::Tensor numeric = at::zeros_like(x);
      Tensors moved = in;
      moved[i] = x;
      for (std::int64_t j = 0; j < x.numel(); ++j) {
        double* const place = x.mutable_data_ptr<double>() + j;
        const double kept = *place, step = 1e-6;
        double value[2];
        for (int side = 0; side < 2; ++side) {
          *place = kept + (side == 0 ? step : -step);
          value[side] =
              (grad_o * delta_row("reference").run.forward(delta_inputs(moved), nullptr, nullptr)).sum().item<double>();
        }
        *place = kept;
        numeric.mutable_data_ptr<double>()[j] = (value[0] - value[1]) / (2 * step);
      }
      EXPECT_LT(delta_error(gradient, numeric), 1e-7) << s << ": input " << i;
    }
  }
}

TEST(GatedDelta, ComposedEqualsReferenceInFp64) {
  std::vector<DeltaSizes> cases = delta_cases();
  cases.push_back({1, 1, 3, 1, 1});  // in fp32 the gradients of a q of one value would be rounding errors
  for (const DeltaSizes& s : cases) {
    const Tensors in = random_delta(s);
    expect_equal_rows(run_delta(delta_row("composed"), in, random_grad(s)),
                      run_delta(delta_row("reference"), in, random_grad(s)), 1e-10, s, "composed");
  }
}

// Of fp32, from the same rounded arguments.
TEST(GatedDelta, RowsEqualTheReferenceInFp32) {
  for (const DeltaSizes& s : delta_cases()) {
    const Tensors in = of_type(random_delta(s), at::kFloat);
    const at::Tensor grad_o = random_grad(s).to(at::kFloat);
    const Tensors exact = run_delta(delta_row("reference"), of_type(in, at::kDouble), grad_o.to(at::kDouble));
    for (const GatedDeltaKernel& row : gated_delta_kernels()) {
      if (!takes(row.needs, gated_delta_call(s.key_dim, s.value_dim))) continue;
      expect_equal_rows(run_delta(row, in, grad_o), exact, 2e-5, s, row.name);
    }
  }
}

// Zeros where a decay is complete: each token for itself, and nothing of the past in any gradient.
TEST(GatedDelta, ACompleteDecayForgetsEverything) {
  const DeltaSizes s{1, 1, 100, 32, 32};
  Tensors in = of_type(random_delta(s), at::kFloat);
  in[3] = at::full_like(in[3], -1e4);
  const auto unit = [](const at::Tensor& x) { return x / (x.square().sum(-1, true) + 1e-6).sqrt(); };
  const at::Tensor expected =
      ((unit(in[0]) * unit(in[1])).sum(-1, true) / std::sqrt(32.0) * in[4].unsqueeze(-1) * in[2]).to(at::kDouble);
  for (const GatedDeltaKernel& row : gated_delta_kernels()) {
    if (!takes(row.needs, gated_delta_call(32, 32))) continue;
    const Tensors all = run_delta(row, in, at::ones({1, 1, 100, 32}));
    EXPECT_LT(delta_error(all[0], expected), 1e-5) << row.name;
    for (const at::Tensor& x : all) EXPECT_TRUE(at::isfinite(x).all().item<bool>()) << row.name;
    EXPECT_EQ(all[4].abs().max().item<double>(), 0) << row.name;
  }
}

TEST(GatedDelta, SplittingASequenceChangesNothing) {
  const DeltaSizes s{2, 2, 150, 32, 64, 0.05};
  const Tensors in = random_delta(s);
  for (const GatedDeltaKernel& row : gated_delta_kernels()) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      if (!takes(row.needs, gated_delta_call(32, 64, type))) continue;
      const Tensors typed = of_type(in, type);
      const at::Tensor expected = row.run.forward(delta_inputs(typed), nullptr, nullptr).to(at::kDouble);
      const ForcedRow forced(gated_delta_kernels(), gated_delta_kernels().find(row.name, "the test"));
      for (const std::vector<std::int64_t>& lengths :
           {std::vector<std::int64_t>{1, 1, 1, 64, 17, 15, 16, 35}, {150}, {149, 1}, {3, 80, 67}}) {
        at::Tensor state = at::zeros({2, 2, 32, 64}, type);
        Tensors parts;
        std::int64_t begin = 0;
        for (const std::int64_t length : lengths) {
          Tensors part;
          for (const at::Tensor& x : typed) part.push_back(x.narrow(2, begin, length));
          parts.push_back(gated_delta_advance(delta_inputs(part), state));
          begin += length;
        }
        EXPECT_LT(delta_error(at::cat(parts, 2), expected), type == at::kFloat ? 1e-5 : 1e-13) << row.name;
      }
    }
  }
}

// The op itself: autograd's gradients are the row's; bf16 rows give what their values in fp32 give.
TEST(GatedDelta, AutogradAndBf16) {
  const DeltaSizes s{1, 2, 70, 16, 32};
  Tensors in = of_type(random_delta(s), at::kFloat);
  const at::Tensor grad_o = random_grad(s).to(at::kFloat);
  for (std::size_t i = 0; i < 3; ++i) in[i] = in[i].to(at::kBFloat16);
  const Tensors wide = of_type(in, at::kFloat);
  const Tensors expected = run_delta(gated_delta_kernels().choose(gated_delta_call(16, 32)), wide, grad_o);
  for (const Tensors& arguments : {wide, in}) {
    Tensors leaves;
    for (const at::Tensor& x : arguments) leaves.push_back(x.detach().requires_grad_(true));
    const at::Tensor o = gated_delta_forward(delta_inputs(leaves));
    EXPECT_EQ(o.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(o, expected[0]));
    const Tensors grads = torch::autograd::grad({o}, leaves, {grad_o});
    for (std::size_t i = 0; i < grads.size(); ++i)
      EXPECT_TRUE(at::equal(grads[i], expected[i + 1].to(leaves[i].scalar_type()))) << i;
  }
}

TEST(GatedDelta, ThreadsChangeNoBit) {
  const DeltaSizes s{2, 3, 100, 32, 64};
  const Tensors in = of_type(random_delta(s), at::kFloat);
  const at::Tensor grad_o = random_grad(s).to(at::kFloat);
  const GatedDeltaKernel& row = gated_delta_kernels().choose(gated_delta_call(32, 64));
  const int threads = at::get_num_threads();
  std::vector<Tensors> results;
  for (const int count : {1, 3}) {
    at::set_num_threads(count);
    results.push_back(run_delta(row, in, grad_o));
  }
  at::set_num_threads(threads);
  for (std::size_t i = 0; i < results[0].size(); ++i) EXPECT_TRUE(at::equal(results[0][i], results[1][i])) << i;
}

TEST(GatedDelta, RefusesWhatDoesNotFit) {
  const DeltaSizes s{1, 1, 4, 16, 16};
  const Tensors in = of_type(random_delta(s), at::kFloat);
  Tensors wrong = in;
  wrong[3] = in[3].unsqueeze(-1);
  EXPECT_THROW(gated_delta_forward(delta_inputs(wrong)), Error);
  wrong = in;
  wrong[4] = in[4].to(at::kDouble);
  EXPECT_THROW(gated_delta_forward(delta_inputs(wrong)), Error);
  EXPECT_THROW(force_kernels({{"gated_delta", "fast", "the test"}}), UserError);
  at::Tensor state = at::zeros({1, 1, 16, 8});
  EXPECT_THROW(gated_delta_advance(delta_inputs(in), state), Error);
}

}  // namespace
}  // namespace ttt
