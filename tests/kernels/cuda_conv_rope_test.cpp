// The CUDA kernels of the causal convolution, of RoPE with its split into heads and of both in one, their very source
// run by emulated lanes, against loops in double.
#include <functional>
#include <tuple>

#include "kernels/cuda/causal_conv.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda_ttt_testing.h"

namespace ttt::kernels::cuda {
namespace {

constexpr std::int64_t W = kConvTaps;

// A result rounded to bf16 once (half a unit of 2^-8 at most, about 2e-3 in 2-norm), or sums in fp32.
template <class Element>
constexpr double kTolerance = sizeof(Element) == 2 ? 4e-3 : 1e-5;

template <class Element>
Element rounded(double x) {
  if constexpr (sizeof(Element) == 2) {
    return bf16_of(static_cast<float>(x));
  } else {
    return static_cast<float>(x);
  }
}

// n random values of what Element holds, and the same in double.
template <class Element>
struct Random {
  Buffer<Element> memory;
  std::vector<double> values;

  Random(std::int64_t n, unsigned seed) : memory(n), values(n) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    for (std::int64_t i = 0; i < n; ++i) {
      memory[i] = rounded<Element>(normal(random));
      values[i] = float_of(memory[i]);
    }
  }
  const Element* data() { return memory.data(); }
};

template <class T>
std::vector<double> in_double(Buffer<T>& x) {
  std::vector<double> out(x.size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = float_of(x[i]);
  return out;
}
// [R,by] summed over R, as the caller does.
std::vector<double> summed(Buffer<float>& x, std::int64_t by) {
  std::vector<double> sums(by, 0);
  for (std::size_t i = 0; i < x.size(); ++i) sums[i % by] += x[i];
  return sums;
}

struct Sizes {
  std::int64_t sequences, time, width;
};

// y of the convolution in double: x [B,T,D], window [B,W-1,D] or empty, weight [W,D].
std::vector<double> conv_in_double(const Sizes& s, const std::vector<double>& x, const std::vector<double>& window,
                                   const std::vector<double>& weight, const std::vector<double>& bias) {
  std::vector<double> y(x.size());
  for (std::int64_t b = 0; b < s.sequences; ++b)
    for (std::int64_t t = 0; t < s.time; ++t)
      for (std::int64_t d = 0; d < s.width; ++d) {
        double sum = bias[d];
        for (std::int64_t w = 0; w < W; ++w) {
          const std::int64_t from = t - W + 1 + w;
          if (from >= 0) {
            sum += weight[w * s.width + d] * x[(b * s.time + from) * s.width + d];
          } else if (!window.empty()) {
            sum += weight[w * s.width + d] * window[(b * (W - 1) + W - 1 + from) * s.width + d];
          }
        }
        y[(b * s.time + t) * s.width + d] = sum;
      }
  return y;
}

// Adds its gradients to dx, dweight, dbias.
void add_conv_gradients(const Sizes& s, const std::vector<double>& x, const std::vector<double>& window,
                        const std::vector<double>& weight, const std::vector<double>& dy, std::vector<double>& dx,
                        std::vector<double>& dweight, std::vector<double>& dbias) {
  for (std::int64_t b = 0; b < s.sequences; ++b)
    for (std::int64_t t = 0; t < s.time; ++t)
      for (std::int64_t d = 0; d < s.width; ++d) {
        const double g = dy[(b * s.time + t) * s.width + d];
        dbias[d] += g;
        for (std::int64_t w = 0; w < W; ++w) {
          const std::int64_t from = t - W + 1 + w;
          if (from >= 0) {
            dx[(b * s.time + from) * s.width + d] += weight[w * s.width + d] * g;
            dweight[w * s.width + d] += g * x[(b * s.time + from) * s.width + d];
          } else if (!window.empty()) {
            dweight[w * s.width + d] += g * window[(b * (W - 1) + W - 1 + from) * s.width + d];
          }
        }
      }
}

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
  KernelTable table;
  emulated::add_causal_conv(table);
  for (const auto& [sequences, time, width] :
       {Sizes{1, 1, 8}, {2, 3, 264}, {1, 16, 40}, {2, 17, 7}, {1, 100, 12}, {2, 131, 33}, {1, 300, 16}})
    for (const bool with_window : {false, true}) {
      SCOPED_TRACE(cat(sequences, " x ", time, " x ", width, with_window ? " with a window" : ""));
      ConvCall<TypeParam> call({sequences, time, width}, with_window);
      call.run([&](const auto& arguments) { table.launch(arguments, nullptr); });
      call.expect_right();
    }
}

}  // namespace
}  // namespace ttt::kernels::cuda
