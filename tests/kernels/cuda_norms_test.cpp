// RMSNorm's and the gated LayerNorm's CUDA kernels, run by emulated lanes, against plain loops in double.
#include <algorithm>

#include "kernels/cuda/layer_norm_gate.h"
#include "kernels/cuda/rms_norm.h"
#include "kernels/cuda_row_testing.h"

namespace ttt::kernels::cuda {
namespace {

constexpr float kEps = 1e-6f;

// --- RMSNorm ---

template <class Element>
struct RmsNorm {
  const std::int64_t rows, width, parts = row_blocks(rows);
  const bool residual;
  Tensor<float> x, weight, x_new, scale, d_residual, dx, dweight;
  Tensor<Element> delta, y, dy, d_delta;

  // misaligned: which tensor lies at an odd address; -1: none.
  RmsNorm(std::int64_t N, std::int64_t D, bool with_residual, int misaligned = -1)
      : rows(N),
        width(D),
        residual(with_residual),
        x(N * D, misaligned != 0),
        weight(D, misaligned != 1),
        x_new(N * D, misaligned != 2),
        scale(N),
        d_residual(N * D, misaligned != 3),
        dx(N * D, misaligned != 4),
        dweight(parts * D, misaligned != 5),
        delta(N * D, misaligned != 6),
        y(N * D, misaligned != 7),
        dy(N * D, misaligned != 8),
        d_delta(N * D, misaligned != 9) {
    x.randomise(1), weight.randomise(2, 1, 0.2), d_residual.randomise(3), delta.randomise(4), dy.randomise(5);
  }
  RmsNormForward<Element> forward() {
    RmsNormForward<Element> p;
    p.rows = rows, p.width = width;
    p.x = x.data(), p.weight = weight.data(), p.eps = kEps, p.y = y.data(), p.scale = scale.data();
    if (residual) p.delta = delta.data(), p.x_new = x_new.data();
    return p;
  }
  RmsNormBackward<Element> backward() {
    RmsNormBackward<Element> p;
    p.rows = rows, p.width = width;
    p.dy = dy.data(), p.x = (residual ? x_new : x).data(), p.weight = weight.data(), p.scale = scale.data();
    p.dx = dx.data(), p.dweight = dweight.data();
    if (residual) p.d_residual = d_residual.data(), p.d_delta = d_delta.data();
    return p;
  }
  void expect_right() const {
    std::vector<double> sum(rows * width), right_y(rows * width), right_dx(rows * width), right_scale(rows),
        right_dweight(width, 0);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t at = r * width;
      double squares = 0, mean = 0;
      for (std::int64_t i = at; i < at + width; ++i) {
        sum[i] = x[i] + (residual ? delta[i] : 0);
        squares += sum[i] * sum[i];
      }
      const double s = right_scale[r] = 1 / std::sqrt(squares / static_cast<double>(width) + kEps);
      for (std::int64_t i = at; i < at + width; ++i) {
        right_y[i] = sum[i] * s * weight[i - at];
        right_dweight[i - at] += dy[i] * sum[i] * s;
        mean += dy[i] * weight[i - at] * sum[i] * s / static_cast<double>(width);
      }
      for (std::int64_t i = at; i < at + width; ++i)
        right_dx[i] = (residual ? d_residual[i] : 0) + s * (dy[i] * weight[i - at] - sum[i] * s * mean);
    }
    EXPECT_LE(relative_error(y, right_y), kRowTolerance<Element>);
    EXPECT_LE(relative_error(scale, right_scale), kRowTolerance<float>);
    EXPECT_LE(relative_error(dx, right_dx), kRowTolerance<float>);
    EXPECT_LE(relative_error(dweight.column_sums(width), right_dweight), kRowTolerance<float>);
    if (!residual) return;
    EXPECT_LE(relative_error(x_new, sum), kRowTolerance<float>);
    EXPECT_LE(relative_error(d_delta, right_dx), kRowTolerance<Element>);
  }
  std::vector<double> results() const {
    std::vector<double> all = y.values();
    for (const Tensor<float>* t : {&scale, &x_new, &dx, &dweight}) append(all, t->values());
    append(all, d_delta.values());
    return all;
  }
};

template <class Element>
class CudaRmsNorm : public ::testing::Test {};
using Elements = ::testing::Types<std::uint16_t, float>;
TYPED_TEST_SUITE(CudaRmsNorm, Elements);

TYPED_TEST(CudaRmsNorm, AgreesWithPlainLoops) {
  struct Case {
    std::int64_t rows, width;
    bool residual;
  };
  for (const Case& c : {Case{7, 768, true},
                        {2, 768, false},
                        {1, 1, true},
                        {3, 1022, true},
                        {1, 1025, false},
                        {2, 2048, true},
                        {1, 2052, true},
                        {2, 8192, false},
                        {1, 8191, true}}) {
    SCOPED_TRACE(cat(c.rows, " x ", c.width));
    RmsNorm<TypeParam> norm(c.rows, c.width, c.residual);
    launch(norm.forward());
    launch(norm.backward());
    norm.expect_right();
  }
}

TYPED_TEST(CudaRmsNorm, TakesTensorsAtAnyAddress) {
  for (int misaligned = 0; misaligned < 10; ++misaligned) {
    RmsNorm<TypeParam> norm(2, 64, true, misaligned);
    launch(norm.forward());
    launch(norm.backward());
    norm.expect_right();
  }
}

TYPED_TEST(CudaRmsNorm, GradientsMayTakeTheirTensorsPlaces) {
#ifdef TTT_PTX
  // A whole block's vectors: in a shorter row threads read the row's first vector in the stead of one beyond it
  // (RowPart), and drop it, while its owner may write there already, which counts as a conflict.
  constexpr std::int64_t kWidth = 1024;
#else
  constexpr std::int64_t kWidth = 96;
#endif
  RmsNorm<TypeParam> norm(5, kWidth, true), in_place(5, kWidth, true);
  launch(norm.forward());
  launch(norm.backward());
  auto forward = in_place.forward();
  forward.x_new = in_place.x.data();
  launch(forward);
  auto backward = in_place.backward();
  backward.x = in_place.x.data(), backward.dx = in_place.d_residual.data(), backward.d_delta = in_place.dy.data();
  launch(backward);
  EXPECT_EQ(in_place.x.values(), norm.x_new.values());
  EXPECT_EQ(in_place.y.values(), norm.y.values());
  EXPECT_EQ(in_place.d_residual.values(), norm.dx.values());
  EXPECT_EQ(in_place.dy.values(), norm.d_delta.values());
}

TYPED_TEST(CudaRmsNorm, HasNoRaces) {
  expect_no_races([](LaneOrder order) {
    RmsNorm<TypeParam> norm(5, 900, true);
    run<RmsNormForwardBlock<TypeParam, 128, 2>>(norm.forward(), 5, order);
    run<RmsNormBackwardBlock<TypeParam, 128, 2>>(norm.backward(), norm.parts, order);
    return norm.results();
  });
}

TEST(CudaRmsNorm, RefusesRowsThatDoNotFit) {
  RmsNormForward<float> p;
  p.rows = 1, p.width = kWidestRow + 1;
  EXPECT_THROW(launch(p), Error);
}

// --- LayerNorm and gate ---

enum class HeadOrder { kHeadsOutside, kTokensOutside };  // memory of [B,H,T,K] or of [B,T,H,K]

struct HeadSizes {
  std::int64_t B, H, T, K;
};

// o with `pad` values between rows of heads; d_o as [B,T,H,K].
template <class Element, class Source>
struct LayerNormGate {
  const std::int64_t B, H, T, K, pad, N = B * T, D = H * K, parts = row_blocks(N);
  const HeadOrder order;
  const bool gated;
  Tensor<Source> o, d_o;
  Tensor<float> weight, bias, mean, scale, dweight, dbias;
  Tensor<Element> gate, y, dy, dgate;

  LayerNormGate(const HeadSizes& sizes, HeadOrder head_order, bool with_gate, std::int64_t padding = 0,
                int misaligned = -1)
      : B(sizes.B),
        H(sizes.H),
        T(sizes.T),
        K(sizes.K),
        pad(padding),
        order(head_order),
        gated(with_gate),
        o(N * H * (K + pad), misaligned != 0),
        d_o(N * D, misaligned != 1),
        weight(D, misaligned != 2),
        bias(D, misaligned != 3),
        mean(N),
        scale(N),
        dweight(parts * D, misaligned != 4),
        dbias(parts * D, misaligned != 5),
        gate(N * D, misaligned != 6),
        y(N * D, misaligned != 7),
        dy(N * D, misaligned != 8),
        dgate(N * D, misaligned != 9) {
    o.randomise(1, 2, 1), weight.randomise(2, 1, 0.2), bias.randomise(3), gate.randomise(4, 0, 2), dy.randomise(5);
  }
  // Where value i of token n lies in o.
  std::int64_t place(std::int64_t n, std::int64_t i) const {
    const std::int64_t b = n / T, t = n % T, h = i / K, k = i % K;
    return (order == HeadOrder::kHeadsOutside ? (b * H + h) * T + t : n * H + h) * (K + pad) + k;
  }
  template <class Arguments>
  Arguments shared() {
    Arguments p;
    p.sequences = B, p.time = T;
    p.heads = static_cast<int>(H), p.head_dim = static_cast<int>(K);
    const std::int64_t step = K + pad;
    p.o = order == HeadOrder::kHeadsOutside ? HeadRows<const Source>{o.data(), H * T * step, T * step, step}
                                            : HeadRows<const Source>{o.data(), H * T * step, step, H * step};
    p.weight = weight.data(), p.bias = bias.data();
    if (gated) p.gate = gate.data();
    p.mean = mean.data(), p.scale = scale.data();
    return p;
  }
  LayerNormGateForward<Element, Source> forward() {
    auto p = shared<LayerNormGateForward<Element, Source>>();
    p.eps = kEps, p.y = y.data();
    return p;
  }
  LayerNormGateBackward<Element, Source> backward() {
    auto p = shared<LayerNormGateBackward<Element, Source>>();
    p.dy = dy.data(), p.d_o = {d_o.data(), T * D, K, D}, p.dweight = dweight.data(), p.dbias = dbias.data();
    if (gated) p.dgate = dgate.data();
    return p;
  }
  void expect_right() const {
    const double width = static_cast<double>(D);
    std::vector<double> right_y(N * D), right_do(N * D), right_dgate(N * D), right_dweight(D, 0), right_dbias(D, 0),
        right_mean(N), right_scale(N), xh(D), dxh(D);
    for (std::int64_t n = 0; n < N; ++n) {
      double sum = 0, squares = 0, mean_d = 0, mean_dot = 0;
      for (std::int64_t i = 0; i < D; ++i) sum += o[place(n, i)];
      const double m = right_mean[n] = sum / width;
      for (std::int64_t i = 0; i < D; ++i) squares += std::pow(o[place(n, i)] - m, 2);
      const double s = right_scale[n] = 1 / std::sqrt(squares / width + kEps);
      for (std::int64_t i = 0; i < D; ++i) {
        const std::int64_t at = n * D + i;
        xh[i] = (o[place(n, i)] - m) * s;
        const double normed = xh[i] * weight[i] + bias[i];
        double factor = 1, d = dy[at];
        if (gated) {  // PyTorch's words for gelu_tanh and its derivative
          const double g = gate[at], beta = std::sqrt(2 / M_PI), th = std::tanh(beta * (g + 0.044715 * g * g * g));
          factor = 0.5 * g * (1 + th);
          right_dgate[at] = d * normed * (0.5 * (1 + th) + 0.5 * g * (1 - th * th) * beta * (1 + 3 * 0.044715 * g * g));
          d *= factor;
        }
        right_y[at] = normed * factor;
        right_dweight[i] += d * xh[i], right_dbias[i] += d;
        dxh[i] = d * weight[i];
        mean_d += dxh[i] / width, mean_dot += dxh[i] * xh[i] / width;
      }
      for (std::int64_t i = 0; i < D; ++i) right_do[n * D + i] = s * (dxh[i] - mean_d - xh[i] * mean_dot);
    }
    EXPECT_LE(relative_error(y, right_y), kRowTolerance<Element>);
    EXPECT_LE(relative_error(mean, right_mean), kRowTolerance<float>);
    EXPECT_LE(relative_error(scale, right_scale), kRowTolerance<float>);
    EXPECT_LE(relative_error(d_o, right_do), kRowTolerance<Source>);
    EXPECT_LE(relative_error(dweight.column_sums(D), right_dweight), kRowTolerance<float>);
    EXPECT_LE(relative_error(dbias.column_sums(D), right_dbias), kRowTolerance<float>);
    if (!gated) return;
    EXPECT_LE(relative_error(dgate, right_dgate), kRowTolerance<Element>);
  }
  std::vector<double> results() const {
    std::vector<double> all = y.values();
    append(all, d_o.values());
    append(all, dgate.values());
    for (const Tensor<float>* t : {&mean, &scale, &dweight, &dbias}) append(all, t->values());
    return all;
  }
};

template <class Types>
class CudaLayerNormGate : public ::testing::Test {};
template <class E, class S>
struct Types {
  using Element = E;
  using Source = S;
};
using AllTypes =
    ::testing::Types<Types<std::uint16_t, std::uint16_t>, Types<std::uint16_t, float>, Types<float, float>>;
TYPED_TEST_SUITE(CudaLayerNormGate, AllTypes);
template <class T>
using LayerNormGateOf = LayerNormGate<typename T::Element, typename T::Source>;

TYPED_TEST(CudaLayerNormGate, AgreesWithPlainLoops) {
  const auto heads = HeadOrder::kHeadsOutside, tokens = HeadOrder::kTokensOutside;
  struct Case {
    HeadSizes sizes;
    HeadOrder order;
    bool gated;
    std::int64_t pad = 0;
  };
  for (const Case& c : {Case{{2, 12, 2, 64}, heads, true},
                        {{1, 12, 3, 64}, tokens, true, 8},
                        {{2, 3, 2, 64}, tokens, false},
                        {{1, 3, 2, 64}, heads, true, 2},
                        {{1, 2, 2, 64}, tokens, true, 2},
                        {{1, 4, 5, 30}, heads, true},
                        {{1, 3, 1, 7}, tokens, true},
                        {{1, 24, 2, 64}, heads, false},
                        {{1, 20, 5, 64}, tokens, true},
                        {{1, 19, 1, 59}, heads, true},
                        {{1, 35, 1, 59}, tokens, true},
                        {{1, 85, 2, 96}, heads, true}}) {
    SCOPED_TRACE(cat(c.sizes.B, " ", c.sizes.H, " ", c.sizes.T, " ", c.sizes.K));
    LayerNormGateOf<TypeParam> norm(c.sizes, c.order, c.gated, c.pad);
    launch(norm.forward());
    launch(norm.backward());
    norm.expect_right();
  }
}

TYPED_TEST(CudaLayerNormGate, TakesTensorsAtAnyAddress) {
  for (int misaligned = 0; misaligned < 10; ++misaligned) {
    LayerNormGateOf<TypeParam> norm({1, 2, 2, 32}, HeadOrder::kHeadsOutside, true, 0, misaligned);
    launch(norm.forward());
    launch(norm.backward());
    norm.expect_right();
  }
}

TYPED_TEST(CudaLayerNormGate, HasNoRaces) {
  expect_no_races([](LaneOrder order) {
    LayerNormGateOf<TypeParam> norm({1, 5, 5, 64}, HeadOrder::kHeadsOutside, true);
    using E = typename TypeParam::Element;
    using S = typename TypeParam::Source;
    run<LayerNormGateForwardBlock<E, S, 128, 2>>(norm.forward(), 5, order);
    run<LayerNormGateBackwardBlock<E, S, 128, 2>>(norm.backward(), norm.parts, order);
    return norm.results();
  });
}

}  // namespace
}  // namespace ttt::kernels::cuda
