// The optimizer's CUDA kernels, run by emulated lanes, against plain loops in double.
#include "kernels/cuda/adamw.h"

#include <cmath>
#include <limits>
#include <memory>

#include "kernels/cuda_row_testing.h"

namespace ttt::kernels::cuda {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.95, kEps = 1e-8;

TEST(CudaAdamW, ChunksCoverEveryTensor) {
  const std::vector<std::int64_t> sizes = {5, 0, 32768, 70000, 1};
  std::vector<std::int64_t> covered(sizes.size(), 0);
  for (const TensorChunk& chunk : chunks_of(sizes)) {
    EXPECT_GT(chunk.count, 0);
    EXPECT_LE(chunk.count, 32768);
    EXPECT_EQ(chunk.first % 32768, 0);
    EXPECT_EQ(chunk.first, covered[chunk.tensor]);
    covered[chunk.tensor] += chunk.count;
  }
  EXPECT_EQ(covered, sizes);
}

// Tensors of two groups, with a bf16 copy and without, and the same in double.
template <class Element>
struct Optimizer {
  struct One {
    Tensor<float> parameter, exp_avg, exp_avg_sq;
    Tensor<std::uint16_t> copy;
    Tensor<Element> gradient;
    std::vector<double> p, m, v;  // as they should be
    int group;
    // misaligned: which of them lies at an odd address, from 1 on.
    One(std::size_t size, int misaligned, int of_group)
        : parameter(size, misaligned != 1),
          exp_avg(size, misaligned != 2),
          exp_avg_sq(size, misaligned != 3),
          copy(size, misaligned != 4),
          gradient(size, misaligned != 5),
          m(size, 0),
          v(size, 0),
          group(of_group) {}
  };
  std::vector<std::unique_ptr<One>> all;
  DeviceVector<const Element*> gradients;
  DeviceVector<AdamWTensor> tensors;
  DeviceVector<AdamWGroup> groups = {{1e-2f, 0.1f}, {3e-3f, 0}};
  DeviceVector<TensorChunk> chunks;
  DeviceVector<float> squares;
  DeviceVector<BiasCorrections> corrections = DeviceVector<BiasCorrections>(1);
  DeviceVector<double> loss_and_norm = {1.5, 0}, max_loss = {std::numeric_limits<double>::infinity()};
  DeviceVector<StepDecision> decision = DeviceVector<StepDecision>(1);
  int updates = 0;

  Optimizer() {
    std::vector<std::int64_t> sizes;
    for (const int size : {33000, 1, 1027, 515, 4, 8, 16, 32, 64}) {
      const int i = static_cast<int>(all.size());
      One& one = *all.emplace_back(std::make_unique<One>(size, i - 3, i % 2));
      one.parameter.randomise(10 + i), one.exp_avg.randomise(0, 0, 0), one.exp_avg_sq.randomise(0, 0, 0);
      one.p = one.parameter.values();
      gradients.push_back(one.gradient.data());
      tensors.push_back({one.parameter.data(), one.exp_avg.data(), one.exp_avg_sq.data(),
                         i != 1 ? one.copy.data() : nullptr, one.group});
      sizes.push_back(size);
    }
    for (const TensorChunk& chunk : chunks_of(sizes)) chunks.push_back(chunk);
    squares.resize(chunks.size());
  }
  GradientSquares<Element> sum_squares() {
    return {gradients.data(), chunks.data(), static_cast<std::int64_t>(chunks.size()), squares.data()};
  }
  GradientNorm sum_norm() { return {squares.data(), static_cast<std::int64_t>(squares.size()), &loss_and_norm[1]}; }
  DecideStep decide(double max_norm) { return {loss_and_norm.data(), max_loss.data(), max_norm, decision.data()}; }
  AdamWUpdate<Element> update() {
    return {gradients.data(),   tensors.data(),  groups.data(), chunks.data(), static_cast<std::int64_t>(chunks.size()),
            corrections.data(), decision.data(), kBeta1,        kBeta2,        kEps};
  }
  // New gradients for the next step, of which the double's part is done here. Returns their norm.
  double begin_step(double max_norm) {
    ++updates;
    double total = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i]->gradient.randomise(static_cast<unsigned>(100 * updates + i));
      for (const double g : all[i]->gradient.values()) total += g * g;
    }
    const double norm = std::sqrt(total), factor = max_norm > 0 && norm > max_norm ? max_norm / norm : 1;
    const double correction1 = 1 - std::pow(kBeta1, updates), correction2 = 1 - std::pow(kBeta2, updates);
    corrections[0] = {static_cast<float>(correction1), static_cast<float>(std::sqrt(correction2))};
    for (const auto& one : all) {
      const double lr = groups[one->group].lr, weight_decay = groups[one->group].weight_decay;
      for (std::size_t k = 0; k < one->p.size(); ++k) {
        const double g = factor * one->gradient[k];
        double &p = one->p[k], &m = one->m[k], &v = one->v[k];
        m = kBeta1 * m + (1 - kBeta1) * g;
        v = kBeta2 * v + (1 - kBeta2) * g * g;
        p -= lr * (m / correction1 / (std::sqrt(v / correction2) + kEps) + weight_decay * p);
      }
    }
    return norm;
  }
  void expect_right() const {
    for (const auto& one : all) {
      EXPECT_LE(relative_error(one->parameter, one->p), kRowTolerance<float>);
      EXPECT_LE(relative_error(one->exp_avg, one->m), kRowTolerance<float>);
      EXPECT_LE(relative_error(one->exp_avg_sq, one->v), kRowTolerance<float>);
      if (&one == &all[1]) {
        EXPECT_TRUE(std::isnan(one->copy[0]));
      } else {
        EXPECT_LE(relative_error(one->copy, one->p), kRowTolerance<std::uint16_t>);
      }
    }
  }
};

template <class Element>
class CudaAdamWOf : public ::testing::Test {};
using Elements = ::testing::Types<std::uint16_t, float>;
TYPED_TEST_SUITE(CudaAdamWOf, Elements);

TYPED_TEST(CudaAdamWOf, StepsAgreeWithPlainLoops) {
  Optimizer<TypeParam> optimizer;
  for (const double max_norm : {1.0, 0.0, 1e9}) {
    const double norm = optimizer.begin_step(max_norm);
    launch(optimizer.sum_squares());
    launch(optimizer.sum_norm());
    launch(optimizer.decide(max_norm));
    EXPECT_EQ(optimizer.decision[0].loss, 1.5);
    EXPECT_NEAR(optimizer.decision[0].norm, norm, 1e-6 * norm);
    EXPECT_NEAR(optimizer.decision[0].factor, max_norm == 1 ? 1 / norm : 1, 1e-6 / norm);
    EXPECT_EQ(optimizer.decision[0].taken, 1);
    launch(optimizer.update());
    optimizer.expect_right();
  }
}

// A loss or a norm that is not finite, or a loss above the limit: every bit stays what it was.
TYPED_TEST(CudaAdamWOf, AStepThatIsNotTakenChangesNothing) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  struct Case {
    double loss, norm, max_loss;
  };
  Optimizer<TypeParam> optimizer;
  const auto values = [&] {
    std::vector<double> all;
    for (const auto& one : optimizer.all)
      for (const auto* tensor : {&one->parameter, &one->exp_avg, &one->exp_avg_sq}) append(all, tensor->values());
    return all;
  };
  optimizer.begin_step(0);
  const std::vector<double> before = values();
  for (const Case& c : {Case{NAN, 1, kInfinity}, Case{kInfinity, 1, kInfinity}, Case{1, NAN, kInfinity},
                        Case{1, kInfinity, kInfinity}, Case{-kInfinity, 1, kInfinity}, Case{3.5, 1, 3.25}}) {
    optimizer.loss_and_norm[0] = c.loss, optimizer.loss_and_norm[1] = c.norm, optimizer.max_loss[0] = c.max_loss;
    launch(optimizer.decide(1));
    EXPECT_EQ(optimizer.decision[0].taken, 0) << c.loss << ", " << c.norm;
    launch(optimizer.update());
    EXPECT_EQ(values(), before) << c.loss << ", " << c.norm;
  }
  optimizer.loss_and_norm[0] = optimizer.max_loss[0] = 3.25, optimizer.loss_and_norm[1] = 1;
  launch(optimizer.decide(0));
  EXPECT_EQ(optimizer.decision[0].taken, 1);
  launch(optimizer.update());
  optimizer.expect_right();
}

TYPED_TEST(CudaAdamWOf, WithoutADecisionGradientsAreTakenAsTheyAre) {
  Optimizer<TypeParam> optimizer;
  optimizer.begin_step(0);
  auto update = optimizer.update();
  update.decision = nullptr;
  launch(update);
  optimizer.expect_right();
}

TYPED_TEST(CudaAdamWOf, HasNoRaces) {
  expect_no_races([](LaneOrder order) {
    Optimizer<TypeParam> optimizer;
    optimizer.begin_step(1);
    const auto blocks = static_cast<std::int64_t>(optimizer.chunks.size());
    run<GradientSquaresBlock<TypeParam>>(optimizer.sum_squares(), blocks, order);
    run<GradientNormBlock>(optimizer.sum_norm(), 1, order);
    run<DecideStepBlock>(optimizer.decide(1), 1, order);
    run<AdamWUpdateBlock<TypeParam>>(optimizer.update(), blocks, order);
    std::vector<double> results = {optimizer.decision[0].norm, optimizer.decision[0].factor};
    for (const auto& one : optimizer.all) append(results, one->parameter.values());
    return results;
  });
}

// More sums than threads, of very different sizes: fp64 keeps them all.
TEST(CudaAdamW, TheNormOfManySums) {
  DeviceVector<float> squares(3000, 1e-3f);
  squares[1234] = 1e6f;
  DeviceVector<double> norm(1);
  launch(GradientNorm{squares.data(), 3000, norm.data()});
  EXPECT_NEAR(norm[0], std::sqrt(1e6 + 2.999), 1e-4);
}

TEST(CudaAdamW, ANormThatIsNoNumberShows) {
  const DeviceVector<float> squares = {1, NAN, 1};
  DeviceVector<double> norm(1);
  launch(GradientNorm{squares.data(), 3, norm.data()});
  EXPECT_TRUE(std::isnan(norm[0]));
}

}  // namespace
}  // namespace ttt::kernels::cuda
