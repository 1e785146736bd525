// Mamba's scan: the CPU's chunked loops against the recurrence token by token in fp64 (values and every gradient), at
// channel counts around the vector width and the groups of a task; continuation; determinism.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <vector>

#include "ops/selective_scan.h"

namespace ttt {
namespace {

// Random inputs of the sizes that a model has: dt in (0, 0.2), A in [-16, -1].
std::vector<at::Tensor> random_inputs(std::int64_t B, std::int64_t T, std::int64_t E, at::ScalarType dtype) {
  const auto options = at::dtype(dtype);
  std::vector<at::Tensor> in = {at::randn({B, T, E}, options),        0.2 * at::rand({B, T, E}, options),
                                -1 - 15 * at::rand({E, 16}, options), at::randn({B, T, 16}, options),
                                at::randn({B, T, 16}, options),       at::randn({E}, options)};
  for (at::Tensor& tensor : in) tensor.requires_grad_(true);
  return in;
}

ScanInputs scan_inputs(const std::vector<at::Tensor>& in) {
  return {in[0], in[1], in[2], in[3], in[4], in[5]};
}

// Relative to the largest value, which is 0 for the gradient of A where there is but one token.
double scan_error(const at::Tensor& actual, const at::Tensor& expected) {
  const double largest = expected.abs().max().item<double>();
  return (actual.to(at::kDouble) - expected).abs().max().item<double>() / (largest > 0 ? largest : 1.0);
}

TEST(SelectiveScan, LoopsEqualTheRecurrence) {
  torch::manual_seed(3);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const double tolerance = dtype == at::kFloat ? 1e-5 : 1e-13;
    for (const std::int64_t E : {1, 7, 16, 40, 130, 300}) {
      for (const std::int64_t T : {1, 15, 16, 17, 50}) {
        const auto in = random_inputs(2, T, E, dtype);
        std::vector<at::Tensor> exact;
        for (const at::Tensor& tensor : in) exact.push_back(tensor.detach().to(at::kDouble).requires_grad_(true));
        const at::Tensor y = selective_scan(scan_inputs(in)), expected = selective_scan_composed(scan_inputs(exact));
        EXPECT_LT(scan_error(y, expected), tolerance) << "E " << E << " T " << T;
        const at::Tensor dy = at::randn_like(y);
        const auto grads = torch::autograd::grad({y}, in, {dy});
        const auto expected_grads = torch::autograd::grad({expected}, exact, {dy.to(at::kDouble)});
        for (std::size_t i = 0; i < grads.size(); ++i)
          EXPECT_LT(scan_error(grads[i], expected_grads[i]), tolerance) << "E " << E << " T " << T << " gradient " << i;
      }
    }
  }
}

TEST(SelectiveScan, ContinuesFromItsState) {
  torch::manual_seed(4);
  const torch::NoGradGuard no_grad;
  const ScanInputs all = scan_inputs(random_inputs(2, 37, 40, at::kDouble));
  const at::Tensor expected = selective_scan(all);
  at::Tensor h = at::zeros({2, 16, 40}, at::kDouble);
  std::vector<at::Tensor> parts;
  std::int64_t begin = 0;
  for (const std::int64_t length : {1, 16, 3, 17}) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(1, begin, length); };
    parts.push_back(selective_scan_advance(
        {part(all.x_BTE), part(all.dt_BTE), all.A_EN, part(all.B_BTN), part(all.C_BTN), all.D_E}, h));
    begin += length;
  }
  EXPECT_LT(scan_error(at::cat(parts, 1), expected), 1e-13);
}

TEST(SelectiveScan, ThreadsChangeNoBit) {
  torch::manual_seed(5);
  const auto in = random_inputs(3, 40, 300, at::kFloat);
  const int threads = at::get_num_threads();
  std::vector<std::vector<at::Tensor>> results;
  for (const int count : {1, 3}) {
    at::set_num_threads(count);
    const at::Tensor y = selective_scan(scan_inputs(in));
    auto list = torch::autograd::grad({y}, in, {at::ones_like(y)});
    list.push_back(y);
    results.push_back(std::move(list));
  }
  at::set_num_threads(threads);
  for (std::size_t i = 0; i < results[0].size(); ++i) EXPECT_TRUE(at::equal(results[0][i], results[1][i])) << i;
}

}  // namespace
}  // namespace ttt
