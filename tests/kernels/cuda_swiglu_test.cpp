// SwiGLU's CUDA kernels, run by emulated lanes, against plain loops in double.
#include "kernels/cuda/swiglu.h"

#include "kernels/cuda_row_testing.h"

namespace ttt::kernels::cuda {
namespace {

// gate and up are the halves of rows of one tensor [N, 2F] and so are their gradients, or tensors [N,F] of their own.
template <class Element>
struct Swiglu {
  const std::int64_t rows, width, step;
  const bool halves;
  Tensor<Element> gate, up, y, dy, dgate, dup;

  Swiglu(std::int64_t N, std::int64_t F, bool as_halves, bool aligned = true)
      : rows(N),
        width(F),
        step(as_halves ? 2 * F : F),
        halves(as_halves),
        gate(N * step, aligned),
        up(halves ? 0 : N * F),
        y(N * F),
        dy(N * F),
        dgate(N * step),
        dup(halves ? 0 : N * F, aligned) {
    gate.randomise(1, 0, 3), up.randomise(2), dy.randomise(3);
  }
  template <class T>
  StridedRows<T> strided(Tensor<Element>& own, Tensor<Element>& both) {
    return {halves ? both.data() + width : own.data(), step};
  }
  template <class Arguments>
  Arguments shared() {
    Arguments p;
    p.rows = rows, p.width = width;
    p.gate = {gate.data(), step}, p.up = strided<const Element>(up, gate);
    return p;
  }
  SwigluForward<Element> forward() {
    auto p = shared<SwigluForward<Element>>();
    p.y = {y.data(), width};
    return p;
  }
  SwigluBackward<Element> backward() {
    auto p = shared<SwigluBackward<Element>>();
    p.dy = {dy.data(), width};
    p.dgate = {dgate.data(), step}, p.dup = strided<Element>(dup, dgate);
    return p;
  }
  void expect_right() const {
    std::vector<double> right_y, right_dgate, right_dup, is_dgate, is_dup;
    for (std::int64_t i = 0; i < rows * width; ++i) {
      const std::int64_t at = i / width * step + i % width;
      const double g = gate[at], u = halves ? gate[at + width] : up[i], s = 1 / (1 + std::exp(-g));
      right_y.push_back(g * s * u);
      right_dgate.push_back(dy[i] * u * (s + g * s * (1 - s)));
      right_dup.push_back(dy[i] * g * s);
      is_dgate.push_back(dgate[at]);
      is_dup.push_back(halves ? dgate[at + width] : dup[i]);
    }
    EXPECT_LE(relative_error(y, right_y), kRowTolerance<Element>);
    EXPECT_LE(relative_error(is_dgate, right_dgate), kRowTolerance<Element>);
    EXPECT_LE(relative_error(is_dup, right_dup), kRowTolerance<Element>);
  }
  std::vector<double> results() const {
    std::vector<double> all = y.values();
    append(all, dgate.values());
    append(all, dup.values());
    return all;
  }
};

template <class Element>
class CudaSwiglu : public ::testing::Test {};
using Elements = ::testing::Types<std::uint16_t, float>;
TYPED_TEST_SUITE(CudaSwiglu, Elements);

TYPED_TEST(CudaSwiglu, AgreesWithPlainLoops) {
  struct Case {
    std::int64_t rows, width;
    bool halves, aligned;
  };
  for (const Case& c : {Case{1, 5001, false, true},
                        {3, 2048, false, true},
                        {3, 688, true, true},
                        {2, 51, true, true},
                        {3, 13, false, true},
                        {2, 64, true, false},
                        {1, 1, false, true}}) {
    SCOPED_TRACE(cat(c.rows, " x ", c.width));
    Swiglu<TypeParam> swiglu(c.rows, c.width, c.halves, c.aligned);
    launch(swiglu.forward());
    launch(swiglu.backward());
    swiglu.expect_right();
  }
}

// Fewer blocks than vectors: the threads go on to further ones.
TYPED_TEST(CudaSwiglu, GoesThroughAllVectors) {
  Swiglu<TypeParam> swiglu(3, 3000, true);
  run<SwigluForwardBlock<TypeParam>>(swiglu.forward(), 2, LaneOrder::kForward);
  run<SwigluBackwardBlock<TypeParam>>(swiglu.backward(), 2, LaneOrder::kForward);
  swiglu.expect_right();
}

TYPED_TEST(CudaSwiglu, HasNoRaces) {
  expect_no_races([](LaneOrder order) {
    Swiglu<TypeParam> swiglu(2, 700, false);
    auto backward = swiglu.backward();
    backward.dgate = {swiglu.gate.data(), 700};  // in place
    run<SwigluForwardBlock<TypeParam>>(swiglu.forward(), 1, order);
    run<SwigluBackwardBlock<TypeParam>>(backward, 1, order);
    std::vector<double> all = swiglu.results();
    append(all, swiglu.gate.values());
    return all;
  });
}

TYPED_TEST(CudaSwiglu, StaysFiniteFarOut) {
  Swiglu<TypeParam> swiglu(1, 2, false);
  swiglu.gate.set(0, -200), swiglu.gate.set(1, 200);
  swiglu.up.set(0, 1), swiglu.up.set(1, 1), swiglu.dy.set(0, 1), swiglu.dy.set(1, 1);
  launch(swiglu.forward());
  launch(swiglu.backward());
  EXPECT_EQ(swiglu.y.values(), (std::vector<double>{0, 200}));
  EXPECT_EQ(swiglu.dgate.values(), (std::vector<double>{0, 1}));
  EXPECT_EQ(swiglu.dup.values(), (std::vector<double>{0, 200}));
}

}  // namespace
}  // namespace ttt::kernels::cuda
