// The CUDA kernels of the causal convolution, their very source run by emulated lanes, against loops in double.
#include <algorithm>

#include "kernels/cuda/causal_conv.h"
#include "kernels/cuda_conv_testing.h"

namespace ttt::kernels::cuda {
namespace {

template <class Element>
class CudaCausalConv : public ::testing::Test {};
using Elements = ::testing::Types<std::uint16_t, float>;
TYPED_TEST_SUITE(CudaCausalConv, Elements);

// What a call has and makes; start(arguments) runs the kernel of these.
template <class Element>
struct ConvCall {
  Sizes s;
  Random<Element> x, window, dy;
  Random<float> weight, bias;
  bool with_window;
  Buffer<Element> y, dx;
  std::int64_t parts;
  Buffer<float> dweight, dbias;

  ConvCall(const Sizes& sizes, bool has_window)
      : s(sizes),
        x(s.sequences * s.time * s.width, 1),
        window(s.sequences * (W - 1) * s.width, 2),
        dy(s.sequences * s.time * s.width, 3),
        weight(W * s.width, 4),
        bias(s.width, 5),
        with_window(has_window),
        y(s.sequences * s.time * s.width),
        dx(s.sequences * s.time * s.width),
        parts(inputs().parts()),
        dweight(parts * W * s.width),
        dbias(parts * s.width) {
    if (!with_window) window.values.clear();
  }
  ConvInputs<Element> inputs() {
    ConvInputs<Element> in;
    in.sequences = s.sequences, in.time = s.time, in.width = s.width;
    in.x = rows(x.data());
    if (with_window) in.window = window.data();
    return in;
  }
  template <class T>
  SequenceRows<T> rows(T* data) const {
    return {data, s.time * s.width, s.width};
  }
  template <class Start>
  void run(const Start& start) {
    start(CausalConvForward<Element>{inputs(), {weight.data(), bias.data()}, rows(y.data())});
    start(CausalConvBackward<Element>{
        inputs(), weight.data(), rows(dy.data()), rows(dx.data()), {dweight.data(), dbias.data()}});
  }
  void expect_right() {
    EXPECT_LE(relative_error(in_double(y), conv_in_double(s, x.values, window.values, weight.values, bias.values)),
              kTolerance<Element>);
    std::vector<double> right_dx(x.values.size()), right_dweight(weight.values.size()), right_dbias(s.width);
    add_conv_gradients(s, x.values, window.values, weight.values, dy.values, right_dx, right_dweight, right_dbias);
    EXPECT_LE(relative_error(in_double(dx), right_dx), kTolerance<Element>);
    EXPECT_LE(relative_error(summed(dweight, W * s.width), right_dweight), kTolerance<float>);
    EXPECT_LE(relative_error(summed(dbias, s.width), right_dbias), kTolerance<float>);
  }
};

// Through the table: sizes choose the kernel.
TYPED_TEST(CudaCausalConv, AgreesWithLoopsInDouble) {
  for (const auto& [sequences, time, width] :
       {Sizes{1, 1, 8}, {2, 3, 264}, {1, 16, 40}, {2, 17, 7}, {1, 100, 12}, {2, 131, 33}, {1, 300, 16}})
    for (const bool with_window : {false, true}) {
      SCOPED_TRACE(cat(sequences, " x ", time, " x ", width, with_window ? " with a window" : ""));
      ConvCall<TypeParam> call({sequences, time, width}, with_window);
      call.run([&](const auto& arguments) { launch(arguments); });
      call.expect_right();
    }
}

// Rows of a wider tensor, as a projection of several leaves them; such that no vector fits, or none after the first
// row; and such that they end in the middle of one. What lies between the rows is left alone.
TYPED_TEST(CudaCausalConv, TakesRowsOfWiderTensors) {
  struct Rows {
    std::int64_t width, row, first;
  };
  for (const Rows& rows : {Rows{16, 24, 8}, {16, 19, 3}, {16, 18, 0}, {12, 16, 0}}) {
    const std::int64_t width = rows.width, row = rows.row, first = rows.first;
    SCOPED_TRACE(cat(width, " of ", row, " from ", first));
    const Sizes s{2, 8, width};
    ConvCall<TypeParam> call(s, /*has_window=*/false);
    Buffer<TypeParam> x(s.sequences * s.time * row), y(x.size()), dx(x.size());
    for (auto* values : {&x, &y, &dx}) std::fill_n(values->data(), values->size(), TypeParam());
    const auto at = [&](std::int64_t i) { return i / width * row + first + i % width; };
    const auto of = [&]<class T>(T* data) { return SequenceRows<T>{data + first, s.time * row, row}; };
    for (std::size_t i = 0; i < call.y.size(); ++i) x[at(i)] = call.x.memory[i];
    call.run([&](auto arguments) {
      arguments.in.x = of(static_cast<const TypeParam*>(x.data()));
      if constexpr (requires { arguments.dx; }) {
        arguments.dx = of(dx.data());
      } else {
        arguments.y = of(y.data());
      }
      launch(arguments);
    });
    for (std::size_t i = 0; i < call.y.size(); ++i) call.y[i] = y[at(i)], call.dx[i] = dx[at(i)];
    call.expect_right();
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::int64_t column = static_cast<std::int64_t>(i) % row - first;
      const bool own = 0 <= column && column < width;
      EXPECT_EQ(y[i] != TypeParam() || dx[i] != TypeParam(), own) << i;
    }
  }
}

// Vectors are not read or written where they do not fit.
TYPED_TEST(CudaCausalConv, TakesTensorsOfAnyAlignment) {
  ConvCall<TypeParam> call({1, 9, 16}, /*has_window=*/true);
  call.run([&](auto a) {
    const auto start = [&] { launch(a); };
    if constexpr (requires { a.dx; }) {
      start_with_each_moved(start, 48, 1, a.in.window);
      start_with_each_moved(start, 64, 1, a.weight);
      start_with_each_moved(start, 144, 1, a.in.x.data, a.dy.data, a.dx.data);
    } else {
      start_with_each_moved(start, 48, 1, a.in.window);
      start_with_each_moved(start, 64, 1, a.conv.weight);
      start_with_each_moved(start, 16, 1, a.conv.bias);
      start_with_each_moved(start, 144, 1, a.in.x.data, a.y.data);
    }
  });
  call.expect_right();
}

// The order in which threads run between two meetings must not matter.
TYPED_TEST(CudaCausalConv, HasNoRaces) {
  expect_no_races([](LaneOrder order) {
    ConvCall<TypeParam> call({1, 140, 20}, /*has_window=*/true);
    call.run([&](const auto& arguments) {
      if constexpr (requires { arguments.dx; }) {
        using Block = CausalConvBackwardBlock<TypeParam, 4>;
        run<Block>(arguments, Block::blocks(arguments.in), order);
      }
    });
    std::vector<double> all = in_double(call.dx);
    append(all, in_double(call.dweight));
    append(all, in_double(call.dbias));
    return all;
  });
}

}  // namespace
}  // namespace ttt::kernels::cuda
