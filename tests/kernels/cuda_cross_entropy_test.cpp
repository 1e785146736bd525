// The cross-entropy's CUDA kernels, run by emulated lanes, against plain loops in double.
#include "kernels/cuda/cross_entropy.h"

#include <algorithm>
#include <limits>

#include "kernels/cuda_row_testing.h"

namespace ttt::kernels::cuda {
namespace {

template <class Element>
struct CrossEntropy {
  const std::int64_t rows, width, step;
  Tensor<Element> logits;
  Tensor<std::int64_t> targets;
  Tensor<float> loss, log_sum, g;
  std::vector<double> before;  // the logits, before their gradient takes their place

  CrossEntropy(std::int64_t N, std::int64_t V, std::int64_t row_step, bool aligned = true)
      : rows(N), width(V), step(row_step), logits(N * step, aligned), targets(N), loss(N), log_sum(N), g(N) {
    logits.randomise(1, -1, 3), g.randomise(2);
    for (std::int64_t n = 0; n < N; ++n) targets.data()[n] = (7 * n + V - 1) % V;
  }
  CrossEntropyForward<Element> forward() {
    CrossEntropyForward<Element> p;
    p.rows = rows, p.width = width;
    p.logits = {logits.data(), step}, p.targets = targets.data();
    p.loss = loss.data(), p.log_sum = log_sum.data();
    return p;
  }
  CrossEntropyGradient<Element> gradient() {
    CrossEntropyGradient<Element> p;
    p.rows = rows, p.width = width;
    p.logits = {logits.data(), step}, p.targets = targets.data();
    p.log_sum = log_sum.data(), p.g = g.data();
    return p;
  }
  void launch_both() {
    before = logits.values();
    launch(forward());
    launch(gradient());
  }
  void expect_right() {
    std::vector<double> right_loss(rows), right_log_sum(rows), right = before;  // what is between rows stays
    for (std::int64_t n = 0; n < rows; ++n) {
      const double* x = before.data() + n * step;
      const std::int64_t target = targets.data()[n];
      const double largest = *std::max_element(x, x + width);
      double sum = 0;
      for (std::int64_t v = 0; v < width; ++v) sum += std::exp(x[v] - largest);
      right_log_sum[n] = largest + std::log(sum);
      right_loss[n] = right_log_sum[n] - x[target];
      for (std::int64_t v = 0; v < width; ++v)
        right[n * step + v] = g[n] * (std::exp(x[v] - right_log_sum[n]) - (v == target ? 1 : 0));
    }
    EXPECT_LE(relative_error(log_sum, right_log_sum), kRowTolerance<float>);
    EXPECT_LE(relative_error(loss, right_loss), kRowTolerance<float>);
    EXPECT_LE(relative_error(logits, right), kRowTolerance<Element>);
  }
};

template <class Element>
class CudaCrossEntropy : public ::testing::Test {};
using Elements = ::testing::Types<std::uint16_t, float>;
TYPED_TEST_SUITE(CudaCrossEntropy, Elements);

TYPED_TEST(CudaCrossEntropy, AgreesWithPlainLoops) {
  struct Case {
    std::int64_t rows, width, step;
    bool aligned;
  };
  // More and fewer values than a block takes at a time, rows at any address and with something between them.
  for (const Case& c : {Case{2, 8200, 8200, true},
                        {3, 1003, 1003, true},
                        {3, 500, 512, true},
                        {3, 500, 507, false},
                        {2, 3, 3, false},
                        {1, 1, 1, true}}) {
    SCOPED_TRACE(cat(c.rows, " x ", c.width));
    CrossEntropy<TypeParam> entropy(c.rows, c.width, c.step, c.aligned);
    entropy.launch_both();
    entropy.expect_right();
  }
}

// Logits that rise along a row, fall, or stand far from 0: sums are taken over again with each new maximum.
TYPED_TEST(CudaCrossEntropy, TakesAnyRangeOfLogits) {
  CrossEntropy<TypeParam> entropy(4, 9000, 9000);
  for (std::int64_t v = 0; v < 9000; ++v) {
    const double x = static_cast<double>(v) / 50;
    entropy.logits.set(v, x), entropy.logits.set(9000 + v, -x);
    entropy.logits.set(18000 + v, 1e3), entropy.logits.set(27000 + v, -1e3);
  }
  entropy.launch_both();
  entropy.expect_right();
}

TYPED_TEST(CudaCrossEntropy, MaskedLogitsHaveNoPart) {
  CrossEntropy<TypeParam> entropy(1, 6000, 6000);
  for (std::int64_t v = 1; v < 6000; ++v) entropy.logits.set(v, -std::numeric_limits<double>::infinity());
  entropy.targets.data()[0] = 0, entropy.g.set(0, 1);
  entropy.launch_both();
  EXPECT_EQ(entropy.loss[0], 0);
  EXPECT_EQ(entropy.logits.values(), std::vector<double>(6000, 0));
}

TYPED_TEST(CudaCrossEntropy, TheLossOfATargetOutOfRangeIsNan) {
  CrossEntropy<TypeParam> entropy(5, 100, 100);
  const std::int64_t targets[] = {-1, 100, 99, std::int64_t{1} << 32, std::numeric_limits<std::int64_t>::min()};
  std::copy_n(targets, 5, entropy.targets.data());
  entropy.launch_both();
  for (std::int64_t n = 0; n < 5; ++n) EXPECT_EQ(std::isnan(entropy.loss[n]), n != 2) << n;
  for (std::int64_t i = 0; i < 200; ++i)  // as if nothing were the target
    EXPECT_NEAR(entropy.logits[i], entropy.g[i / 100] * std::exp(entropy.before[i] - entropy.log_sum[i / 100]), 4e-3);
}

TYPED_TEST(CudaCrossEntropy, HasNoRaces) {
  expect_no_races([](LaneOrder order) {
    CrossEntropy<TypeParam> entropy(1, 4999, 4999);
    run<CrossEntropyForwardBlock<TypeParam>>(entropy.forward(), 1, order);
    run<CrossEntropyGradientBlock<TypeParam>>(entropy.gradient(), 1, order);
    std::vector<double> all = entropy.logits.values();
    append(all, entropy.loss.values());
    append(all, entropy.log_sum.values());
    return all;
  });
}

}  // namespace
}  // namespace ttt::kernels::cuda
