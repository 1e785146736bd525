// The composed row in both of its forms (loops and ATen calls for the row-wise steps) and in any cut. Every row of the
// table: ttt_rows_test.cpp.
#include "ops/ttt_composed.h"

#include "ops/ttt_testing.h"

namespace ttt {
namespace {

using testing::Arguments;
using testing::expect_close;
using testing::random_grad;
using testing::reference;
using testing::Result;
using testing::run;
using testing::Sizes;

Result run_composed(const ComposedPlan& plan, const Sizes& s, const Arguments& a, const at::Tensor& grad_o) {
  TttSaved saved;
  const at::Tensor o = composed_forward(s.kind, plan, a.inputs, a.weights, s.mini_batch, &saved);
  return {o, composed_backward(s.kind, plan, grad_o, a.inputs, a.weights, s.mini_batch, saved)};
}

class Composed : public ::testing::TestWithParam<TttKind> {
  const testing::SingleThread single_thread_;
};
INSTANTIATE_TEST_SUITE_P(TttKernels, Composed, ::testing::Values(TttKind::kLinear, TttKind::kMlp),
                         [](const auto& p) { return p.param == TttKind::kLinear ? "Linear" : "Mlp"; });

// Any segment and group, loops or ATen, over several segments with a short last mini-batch, segment and group.
TEST_P(Composed, AnyCutGivesTheSame) {
  const testing::PoisonedMemory poison;
  for (const std::int64_t head_dim : {6, 16, 20}) {  // below, at and beside the vectors' width
    const Sizes s{GetParam(), 3, 3, 75, head_dim, 8};
    const Arguments a = testing::random_arguments(s);
    const at::Tensor grad_o = random_grad(s);
    const Result expected = run(reference(s.kind), s, a, grad_o);
    for (const bool use_loops : {true, false}) {
      for (const std::int64_t segment : {1, 4, 10, 16}) {
        for (const std::int64_t group : {1, 2, 9}) {
          const ComposedPlan plan{segment, group, use_loops};
          const std::string what = (std::ostringstream() << "segment " << segment << " group " << group << " loops "
                                                         << use_loops << ", " << s)
                                       .str();
          expect_close(run_composed(plan, s, a, grad_o), expected, 1e-11, what);
        }
      }
    }
  }
}

// Inputs of any layout: expanded and transposed tensors have strides that no buffer has.
TEST_P(Composed, TakesAnyStrides) {
  const Sizes s{GetParam(), 2, 2, 19, 6, 8};
  Arguments a = testing::random_arguments(s);
  a.inputs.k_BHTK = at::randn({2, 2, 6, 19}, at::kDouble).transpose(2, 3);
  a.inputs.sigma_BHT = a.inputs.sigma_BHT.select(2, 0).unsqueeze(2).expand({2, 2, 19});
  const at::Tensor grad_o = at::ones({}, at::kDouble).expand({2, 2, 19, 6});
  const Result expected = run(reference(s.kind), s, a, grad_o);
  for (const bool use_loops : {true, false}) {
    expect_close(run_composed({2, 3, use_loops}, s, a, grad_o), expected, 1e-11, "strides");
  }
}

}  // namespace
}  // namespace ttt
