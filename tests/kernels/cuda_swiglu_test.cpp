// SwiGLU's CUDA kernels, run by emulated lanes, against plain loops in double.
#include "kernels/cuda/swiglu.h"

#include "kernels/cuda_row_testing.h"

namespace ttt::kernels::cuda {
namespace {

// Tensors [N,F] without anything between their rows; gate and up, and their gradients, as the halves of rows of one
// tensor [N, 2F]; or every tensor with rows of another length.
enum class Layout { kDense, kHalves, kPadded };

template <class Element>
struct Swiglu {
  const std::int64_t rows, width;
  const Layout layout;
  Tensor<Element> gate, up, y, dy, dgate, dup;

  // misaligned: which tensor lies at an odd address; 0: none.
  Swiglu(std::int64_t N, std::int64_t F, Layout in_memory, int misaligned = 0)
      : rows(N),
        width(F),
        layout(in_memory),
        gate(N * step(1), misaligned != 1),
        up(halves() ? 0 : N * step(2), misaligned != 2),
        y(N * step(3), misaligned != 3),
        dy(N * step(4), misaligned != 4),
        dgate(N * step(5), misaligned != 5),
        dup(halves() ? 0 : N * step(6), misaligned != 6) {
    gate.randomise(1, 0, 3), up.randomise(2), dy.randomise(3);
  }
  bool halves() const { return layout == Layout::kHalves; }
  // Of the tensor of that number; 3 and 4 are y and dy.
  std::int64_t step(int tensor) const {
    if (layout == Layout::kPadded) return width + 8 * tensor;
    return halves() && tensor != 3 && tensor != 4 ? 2 * width : width;
  }
  template <class Arguments>
  Arguments shared() {
    Arguments p;
    p.rows = rows, p.width = width;
    p.gate = {gate.data(), step(1)}, p.up = {halves() ? gate.data() + width : up.data(), step(2)};
    return p;
  }
  SwigluForward<Element> forward() {
    auto p = shared<SwigluForward<Element>>();
    p.y = {y.data(), step(3)};
    return p;
  }
  SwigluBackward<Element> backward() {
    auto p = shared<SwigluBackward<Element>>();
    p.dy = {dy.data(), step(4)};
    p.dgate = {dgate.data(), step(5)}, p.dup = {halves() ? dgate.data() + width : dup.data(), step(6)};
    return p;
  }
  void expect_right() const {
    std::vector<double> right_y, right_dgate, right_dup, is_y, is_dgate, is_dup;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t i = 0; i < width; ++i) {
        const double g = gate[r * step(1) + i], d = dy[r * step(4) + i], s = 1 / (1 + std::exp(-g));
        const double u = halves() ? gate[r * step(1) + width + i] : up[r * step(2) + i];
        right_y.push_back(g * s * u);
        right_dgate.push_back(d * u * (s + g * s * (1 - s)));
        right_dup.push_back(d * g * s);
        is_y.push_back(y[r * step(3) + i]);
        is_dgate.push_back(dgate[r * step(5) + i]);
        is_dup.push_back(halves() ? dgate[r * step(5) + width + i] : dup[r * step(6) + i]);
      }
    }
    EXPECT_LE(relative_error(is_y, right_y), kRowTolerance<Element>);
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
    Layout layout;
  };
  for (const Case& c : {Case{1, 5001, Layout::kDense},
                        {3, 2048, Layout::kDense},
                        {3, 688, Layout::kHalves},
                        {2, 51, Layout::kHalves},
                        {3, 13, Layout::kDense},
                        {3, 40, Layout::kPadded},
                        {3, 45, Layout::kPadded},
                        {1, 1, Layout::kDense}}) {
    SCOPED_TRACE(cat(c.rows, " x ", c.width));
    Swiglu<TypeParam> swiglu(c.rows, c.width, c.layout);
    launch(swiglu.forward());
    launch(swiglu.backward());
    swiglu.expect_right();
  }
}

// Of many values the errors cancel; what truncates would be 2^-8 too small in the mean, in bf16.
TYPED_TEST(CudaSwiglu, RoundsToNearest) {
  Swiglu<TypeParam> swiglu(1, 4096, Layout::kDense);
  launch(swiglu.forward());
  double sum = 0;
  for (std::int64_t i = 0; i < 4096; ++i) {
    const double g = swiglu.gate[i], right = g / (1 + std::exp(-g)) * swiglu.up[i];
    sum += (swiglu.y[i] - right) / right;
  }
  EXPECT_NEAR(sum / 4096, 0, 3e-4);
}

TYPED_TEST(CudaSwiglu, TakesTensorsAtAnyAddress) {
  for (int misaligned = 1; misaligned <= 6; ++misaligned) {
    Swiglu<TypeParam> swiglu(2, 64, Layout::kDense, misaligned);
    launch(swiglu.forward());
    launch(swiglu.backward());
    swiglu.expect_right();
  }
}

// Fewer blocks than vectors: the threads go on to further ones.
TYPED_TEST(CudaSwiglu, GoesThroughAllVectors) {
  Swiglu<TypeParam> swiglu(3, 3000, Layout::kHalves);
  run<SwigluForwardBlock<TypeParam>>(swiglu.forward(), 2, LaneOrder::kForward);
  run<SwigluBackwardBlock<TypeParam>>(swiglu.backward(), 2, LaneOrder::kForward);
  swiglu.expect_right();
}

TYPED_TEST(CudaSwiglu, HasNoRaces) {
  expect_no_races([](LaneOrder order) {
    Swiglu<TypeParam> swiglu(2, 700, Layout::kDense);
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
  Swiglu<TypeParam> swiglu(1, 2, Layout::kDense);
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
