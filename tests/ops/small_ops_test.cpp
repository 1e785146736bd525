// The small ops: the CPU's row loops, and the CUDA kernels by emulated lanes, against the same formulas as ATen calls
// (values and gradients), at odd sizes and tails; cross-entropy against log_softmax and finite differences.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/kernel_table.h"
#include "ops/attention.h"
#include "ops/causal_conv.h"
#include "ops/conv_silu.h"
#include "ops/cross_entropy.h"
#include "ops/cuda_target.h"
#include "ops/layer_norm_gate.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/row_dispatch.h"
#include "ops/swiglu.h"

namespace ttt {
namespace {

using TensorFunction = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

at::Tensor leaf(at::IntArrayRef shape, at::ScalarType dtype) {
  return at::randn(shape, at::dtype(dtype)).requires_grad_(true);
}

// Largest difference relative to the largest value of `expected`.
double error(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) return 1e9;
  const double largest = expected.abs().max().item<double>();
  return (actual.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>() / (largest > 0 ? largest : 1);
}

// Outputs and the gradient of every input, of `fused` against `composed` evaluated in fp64 on the same numbers.
void expect_same(const TensorFunction& fused, const TensorFunction& composed, const std::vector<at::Tensor>& inputs,
                 double tolerance, const std::string& what) {
  std::vector<at::Tensor> exact;
  for (const at::Tensor& input : inputs) exact.push_back(input.detach().to(at::kDouble).requires_grad_(true));
  const at::Tensor y = fused(inputs), expected = composed(exact);
  EXPECT_LT(error(y, expected), tolerance) << what << ": output";
  const at::Tensor dy = at::randn_like(y);
  const auto grads = torch::autograd::grad({y}, inputs, {dy});
  const auto expected_grads = torch::autograd::grad({expected}, exact, {dy.to(at::kDouble)});
  for (std::size_t i = 0; i < grads.size(); ++i)
    EXPECT_LT(error(grads[i], expected_grads[i]), tolerance) << what << ": gradient of input " << i;
}

// Around the widths of a vector (8 doubles, 16 floats), and what models have.
const std::vector<std::int64_t> kWidths = {1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 96, 200};
// fp32: rounding of sums over at most a few hundred terms; fp64 alike. bf16: results are rounded, by up to 2^-9, and
// some are made of others that were.
double tolerance_of(at::ScalarType dtype) {
  return dtype == at::kFloat ? 4e-6 : dtype == at::kBFloat16 ? 8e-3 : 1e-13;
}

// The type of activations; what ops keep wide beside them is fp32 for bf16. And whether the CUDA kernels run, by
// emulated lanes.
struct Place {
  at::ScalarType type;
  bool gpu;
};

class SmallOps : public ::testing::TestWithParam<Place> {
 protected:
  void SetUp() override {
    torch::manual_seed(11);
    if (on_gpu()) gpu_.emplace(kernels::cuda::emulated::kernels());
  }
  static at::ScalarType type() { return GetParam().type; }
  static bool on_gpu() { return GetParam().gpu; }
  double tolerance() const { return tolerance_of(type()); }
  static at::ScalarType wide() { return wide_type(type()); }
  static at::Tensor leaf(at::IntArrayRef shape) { return ttt::leaf(shape, type()); }
  static at::Tensor wide_leaf(at::IntArrayRef shape) { return ttt::leaf(shape, wide()); }

 private:
  std::optional<EmulatedGpu> gpu_;
};

TEST_P(SmallOps, RmsNorm) {
  for (const auto D : kWidths) {
    if (D == 1) continue;  // one value over its own size: the gradient is all cancellation
    for (const std::int64_t N : {1, 5, on_gpu() ? 19 : 300}) {
      const auto fused = [](const auto& in) { return rms_norm(in[0], in[1], kRmsNormEps, type()); };
      const auto composed = [](const auto& in) { return rms_norm_composed(in[0], in[1]); };
      expect_same(fused, composed, {wide_leaf({N, D}), wide_leaf({D})}, tolerance(), "D " + std::to_string(D));
    }
  }
}

// Both results are used, as a residual stream is: what reaches the sum past the norm is added to what the norm gives.
TEST_P(SmallOps, RmsNormOfASum) {
  for (const std::int64_t D : {3, 8, 33, 96}) {
    const auto both = [](const at::Tensor& sum, const at::Tensor& y) { return at::cat({sum, 2 * y.to(sum.dtype())}); };
    const auto fused = [&](const auto& in) {
      const NormedSum normed = add_rms_norm(in[0], in[1], in[2], kRmsNormEps, type());
      EXPECT_EQ(normed.sum.scalar_type(), wide());
      EXPECT_EQ(normed.y.scalar_type(), type());
      return both(normed.sum, normed.y);
    };
    const auto composed = [&](const auto& in) { return both(in[0] + in[1], rms_norm_composed(in[0] + in[1], in[2])); };
    expect_same(fused, composed, {wide_leaf({2, 7, D}), leaf({2, 7, D}), wide_leaf({D})}, tolerance(),
                "D " + std::to_string(D));
  }
}

TEST_P(SmallOps, Swiglu) {
  for (const auto D : kWidths) {
    const auto fused = [](const auto& in) { return swiglu(in[0] * 8, in[1]); };  // to both ends of the sigmoid
    const auto composed = [](const auto& in) { return swiglu_composed(in[0] * 8, in[1]); };
    expect_same(fused, composed, {leaf({150, D}), leaf({150, D})}, tolerance(), "F " + std::to_string(D));
  }
}

TEST(SwigluRange, ExtremeGates) {
  const at::Tensor gate = at::tensor(
      {-1e30f, -200.f, -90.f, -87.5f, -20.f, -1e-30f, 0.f, 1e-6f, 20.f, 88.5f, 200.f, 1e30f, 1.f, 2.f, 3.f, 4.f, 5.f});
  const at::Tensor up = at::ones_like(gate);
  EXPECT_TRUE(at::allclose(swiglu(gate, up), swiglu_composed(gate, up), 1e-6, 1e-30));
  const at::Tensor nan = at::full({17}, NAN);
  EXPECT_TRUE(swiglu(nan, nan).isnan().all().item<bool>());
}

TEST_P(SmallOps, RopeRotatesAndSplitsHeads) {
  for (const std::int64_t K : {2, 6, 8, 16, 18, 64, 96}) {
    for (const std::int64_t offset : {0, 3, 19}) {
      const RopeTable table = make_rope_table(16, K, 10000.0, at::TensorOptions().dtype(type()));
      const RopeTable exact_table{table.cos_PK.to(at::kDouble), table.sin_PK.to(at::kDouble)};
      const auto composed = [&](const auto& in) { return rope_split_heads_composed(in[0], 3, exact_table, offset); };
      for (const at::ScalarType to : {type(), wide()}) {
        const auto fused = [&](const auto& in) {
          const at::Tensor y = rope_split_heads(in[0], 3, table, offset, to);
          EXPECT_EQ(y.scalar_type(), to);
          return y;
        };
        expect_same(fused, composed, {leaf({2, 21, 3 * K})}, tolerance(), "K " + std::to_string(K));
      }
    }
  }
}

// One row without gradients goes through loops of our own; several rows, and gradients, through LibTorch.
TEST_P(SmallOps, LinearLayer) {
  for (const auto in : kWidths) {
    for (const std::int64_t out : {1, 5, 70}) {
      const at::Tensor weight = wide_leaf({out, in}), bias = wide_leaf({out}), x = leaf({1, 1, in});
      const at::Tensor rounded = weight.to(type()).to(at::kDouble);
      const auto composed = [&](const at::Tensor& row, bool biased) {
        const at::Tensor y = at::matmul(row.to(at::kDouble), rounded.t());
        return biased ? y + bias.to(at::kDouble) : y;
      };
      const at::NoGradGuard no_grad;
      for (const bool biased : {false, true}) {
        const at::Tensor one = linear_layer(x, weight, biased ? bias : at::Tensor());
        EXPECT_EQ(one.sizes(), at::IntArrayRef({1, 1, out}));
        EXPECT_EQ(one.scalar_type(), type());
        EXPECT_LT(error(one, composed(x, biased)), 3 * tolerance()) << in << " to " << out;
        const at::Tensor two = linear_layer(at::cat({x, x}, 1), weight, biased ? bias : at::Tensor());
        EXPECT_LT(error(two.narrow(1, 1, 1), composed(x, biased)), 3 * tolerance()) << in << " to " << out;
      }
    }
  }
  const at::Tensor weight = wide_leaf({5, 3}), x = leaf({1, 3});
  const auto grads = torch::autograd::grad({linear_layer(x, weight).sum()}, {x, weight});
  EXPECT_LT(error(grads[0], weight.sum(0, true)), 3 * tolerance());
  EXPECT_EQ(grads[1].scalar_type(), wide());
}

// A row that is computed again for the backward pass (a document of one token) takes the same loops both times.
TEST(LinearLayer, OneRowThatIsComputedAgainIsOneInTraining) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = at::ones({1, 1, 4}), weight = at::ones({3, 4});
  const std::size_t row = linear_kernels().find("matrix_vector", "the test");
  const auto taken = [&] { return linear_kernels().taken(row); };
  const std::int64_t before = taken();
  {
    const ToBeComputedAgain as_in_training;
    linear_layer(x, weight);
  }
  EXPECT_EQ(taken(), before);
  linear_layer(x, weight);
  EXPECT_EQ(taken(), before + 1);
}

TEST(Rope, IsTheComplexProduct) {
  const std::int64_t K = 6, T = 5, offset = 2;
  const double theta = 100.0;
  const at::Tensor x = at::randn({1, T, K}, at::kDouble);
  const at::Tensor y = rope_split_heads(x, 1, make_rope_table(16, K, theta, at::dtype(at::kDouble)), offset);
  for (std::int64_t t = 0; t < T; ++t) {
    for (std::int64_t i = 0; i < K / 2; ++i) {
      const double angle =
          static_cast<double>(t + offset) * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(K));
      const double re = x[0][t][2 * i].item<double>(), im = x[0][t][2 * i + 1].item<double>();
      EXPECT_NEAR(y[0][0][t][2 * i].item<double>(), re * std::cos(angle) - im * std::sin(angle), 1e-12);
      EXPECT_NEAR(y[0][0][t][2 * i + 1].item<double>(), re * std::sin(angle) + im * std::cos(angle), 1e-12);
    }
  }
}

TEST_P(SmallOps, CausalConv) {
  for (const auto D : kWidths) {
    for (const std::int64_t T : {1, 2, 3, 4, 40}) {
      const at::Tensor window = T % 2 == 0 ? at::randn({2, 3, D}, at::dtype(type())) : at::Tensor();
      const auto fused = [&](const auto& in) { return causal_conv(in[0], in[1], in[2], window); };
      const auto composed = [&](const auto& in) {
        return causal_conv_composed(in[0], in[1], in[2], window.defined() ? window.to(at::kDouble) : window);
      };
      expect_same(fused, composed, {leaf({2, T, D}), wide_leaf({D, 1, 4}), wide_leaf({D})}, tolerance(),
                  "D " + std::to_string(D) + " T " + std::to_string(T));
    }
  }
}

TEST_P(SmallOps, ConvSilu) {
  for (const auto D : kWidths) {
    for (const std::int64_t T : {1, 2, 3, 4, 5, 40, 300}) {
      if (T == 300 && (D != 200 || on_gpu())) continue;  // several threads
      const at::Tensor window = T % 2 == 0 ? at::randn({2, 3, D}, at::dtype(type())) : at::Tensor();
      const auto fused = [&](const auto& in) {
        const at::Tensor y = conv_silu(4 * in[0], in[1], window);
        EXPECT_EQ(y.scalar_type(), wide());
        return y;
      };
      const auto composed = [&](const auto& in) {
        return at::silu(causal_conv_composed(4 * in[0], in[1], {}, window.defined() ? window.to(at::kDouble) : window));
      };
      expect_same(fused, composed, {leaf({2, T, D}), wide_leaf({D, 1, 4})}, tolerance(),
                  "D " + std::to_string(D) + " T " + std::to_string(T));
    }
  }
}

TEST(ConvSilu, LargeValuesStayFinite) {
  const at::Tensor x = at::tensor({-1e30, -300.0, -90.0, 90.0, 300.0, 1e30}, at::kFloat).repeat({3}).view({1, 1, 18});
  const at::Tensor weight = at::zeros({18, 1, 4}), leaf_x = x.clone().requires_grad_(true);
  weight.select(2, 3).fill_(1);
  const at::Tensor y = conv_silu(leaf_x, weight);
  EXPECT_TRUE(at::allclose(y, x.clamp_min(0), 1e-6, 1e-5)) << y;
  EXPECT_TRUE(at::allclose(torch::autograd::grad({y}, {leaf_x}, {at::ones_like(y)})[0], (x > 0).to(at::kFloat)));
}

TEST(CausalConv, LastTapIsTheCurrentTokenAndWindowsContinue) {
  const at::Tensor x = at::randn({1, 7, 2}, at::kDouble), bias = at::zeros({2}, at::kDouble);
  at::Tensor weight = at::zeros({2, 1, 4}, at::kDouble);
  weight.select(2, 3).fill_(1);
  EXPECT_TRUE(at::equal(causal_conv(x, weight, bias), x));
  weight = at::randn({2, 1, 4}, at::kDouble);
  const at::Tensor full = causal_conv(x, weight, bias);
  at::Tensor window = at::zeros({1, 3, 2}, at::kDouble);
  std::int64_t begin = 0;
  for (const std::int64_t length : {1, 2, 4}) {
    const at::Tensor piece = x.narrow(1, begin, length);
    EXPECT_TRUE(at::allclose(causal_conv(piece, weight, bias, window), full.narrow(1, begin, length), 0, 1e-14));
    window = next_conv_window(piece, window);
    begin += length;
  }
}

TEST(CausalConv, NoBiasIsABiasOfZeros) {
  const at::Tensor x = at::randn({2, 9, 20}), weight = at::randn({20, 1, 4}).requires_grad_(true);
  const at::Tensor expected = causal_conv(x, weight, at::zeros({20}));
  for (const at::Tensor& y : {causal_conv(x, weight, {}), causal_conv_composed(x, weight, {})}) {
    EXPECT_TRUE(at::allclose(y, expected, 0, 1e-6));
    const at::Tensor dy = at::randn_like(y);
    const auto gradient = torch::autograd::grad({y}, {weight}, {dy});
    EXPECT_TRUE(at::allclose(gradient[0], torch::autograd::grad({expected}, {weight}, {dy}, true)[0], 1e-5, 1e-5));
  }
}

TEST_P(SmallOps, LayerNormGate) {
  for (const std::int64_t K : {1, 5, 8, 16, 33, 64}) {
    for (const bool gated : {false, true}) {
      const std::int64_t H = 3;
      // o in memory of [B,H,T,K], or of [B,T,H,K] as TTT kernels write it
      const at::Tensor o =
          gated ? wide_leaf({2, 9, H, K}).detach().transpose(1, 2).requires_grad_(true) : wide_leaf({2, H, 9, K});
      std::vector<at::Tensor> inputs = {o, wide_leaf({H * K}), wide_leaf({H * K})};
      if (gated) inputs.push_back(leaf({2, 9, H * K}));
      const auto fused = [&](const auto& in) {
        return layer_norm_gate(in[0], in[1], in[2], gated ? in[3] : at::Tensor(), type());
      };
      const auto composed = [&](const auto& in) {
        return layer_norm_gate_composed(in[0], in[1], in[2], gated ? in[3] : at::Tensor());
      };
      expect_same(fused, composed, inputs, 3 * tolerance(), "K " + std::to_string(K));
    }
  }
}

TEST(LayerNormGate, UsesTheTanhFormOfGelu) {
  const at::Tensor o = at::randn({1, 2, 50, 8}), ones = at::ones({16}), zeros = at::zeros({16}),
                   gate = at::randn({1, 50, 16}) * 2;
  const at::Tensor plain = layer_norm_gate(o, ones, zeros, {});
  const at::Tensor y = layer_norm_gate(o, ones, zeros, gate);
  EXPECT_LT((y - plain * at::gelu(gate, "tanh")).abs().max().item<double>(), 2e-6);
  EXPECT_GT((y - plain * at::gelu(gate)).abs().max().item<double>(), 2e-4);
}

TEST(Attention, IsCausalSoftmaxAtAnyOffset) {
  const std::int64_t S = 11, K = 6;
  const at::Tensor q = at::randn({2, 3, S, K}, at::kDouble), k = at::randn({2, 3, S, K}, at::kDouble),
                   v = at::randn({2, 3, S, K}, at::kDouble);
  const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(K));
  const at::Tensor hidden = at::ones({S, S}, at::kBool).triu(1);
  const at::Tensor expected = at::matmul(at::softmax(scores.masked_fill(hidden, -INFINITY), -1), v);
  for (const std::int64_t past : {0, 1, 4, 10})
    EXPECT_LT(error(causal_attention(q.narrow(2, past, S - past), k, v), expected.narrow(2, past, S - past)), 1e-12)
        << past;
}

// Longer than the blocks of queries that a window is computed in.
TEST(Attention, WindowHidesWhatIsTooFarBack) {
  torch::manual_seed(12);
  const std::int64_t S = 600;
  const std::vector<at::Tensor> in = {leaf({1, 2, S, 4}, at::kDouble), leaf({1, 2, S, 4}, at::kDouble),
                                      leaf({1, 2, S, 4}, at::kDouble)};
  const at::Tensor scores = at::matmul(in[0], in[1].transpose(2, 3)) / 2.0;
  for (const std::int64_t window : {1, 7, 256, 599, 600, 1000}) {
    const at::Tensor ones = at::ones({S, S}, at::kBool);
    const at::Tensor hidden = ones.triu(1).logical_or(ones.tril(-window));
    const at::Tensor expected = at::matmul(at::softmax(scores.masked_fill(hidden, -INFINITY), -1), in[2]);
    for (const std::int64_t past : {0, 1, 300, 599}) {
      const at::Tensor o = causal_attention(in[0].narrow(2, past, S - past), in[1], in[2], window);
      EXPECT_LT(error(o, expected.narrow(2, past, S - past)), 1e-12) << window << " " << past;
    }
    const at::Tensor dy = at::randn_like(expected);
    const auto grads = torch::autograd::grad({causal_attention(in[0], in[1], in[2], window)}, in, {dy});
    const auto expected_grads = torch::autograd::grad({expected}, in, {dy}, /*retain_graph=*/true);
    for (std::size_t i = 0; i < in.size(); ++i) EXPECT_LT(error(grads[i], expected_grads[i]), 1e-12) << window;
  }
}

TEST_P(SmallOps, CrossEntropyIsLogSoftmax) {
  for (const std::int64_t V : {2, 17, 200}) {
    for (const std::int64_t chunk : {1, 4, 1000}) {
      const std::int64_t N = 11, D = 9;
      const at::Tensor targets = at::randint(V, {N}, at::kLong);
      const auto fused = [&](const auto& in) { return token_cross_entropy(in[0], in[1], targets, chunk); };
      const auto composed = [&](const auto& in) {
        return -at::log_softmax(at::matmul(in[0], in[1].t()), 1).gather(1, targets.unsqueeze(1)).squeeze(1);
      };
      const at::Tensor hidden = leaf({N, D}), head = leaf({V, D}).detach().to(wide()).requires_grad_(true);
      expect_same(fused, composed, {hidden, head}, 3 * tolerance(), "V " + std::to_string(V));
    }
  }
}

TEST(CrossEntropy, GradientsMatchFiniteDifferences) {
  torch::manual_seed(3);
  const std::int64_t N = 5, D = 4, V = 7;
  const at::Tensor hidden = leaf({N, D}, at::kDouble), head = leaf({V, D}, at::kDouble),
                   weight = at::randn({N}, at::kDouble);
  const at::Tensor targets = at::randint(V, {N}, at::kLong);
  const auto loss = [&](const at::Tensor& h, const at::Tensor& w) {
    return (token_cross_entropy(h, w, targets, 2) * weight).sum();
  };
  const auto grads = torch::autograd::grad({loss(hidden, head)}, {hidden, head});
  const double step = 1e-5;
  const at::NoGradGuard no_grad;
  for (const int which : {0, 1}) {
    const at::Tensor& input = which == 0 ? hidden : head;
    for (std::int64_t i = 0; i < input.numel(); ++i) {
      at::Tensor up = input.detach().clone(), down = up.clone();
      up.view(-1)[i] += step;
      down.view(-1)[i] -= step;
      const at::Tensor difference =
          which == 0 ? loss(up, head) - loss(down, head) : loss(hidden, up) - loss(hidden, down);
      EXPECT_NEAR(grads[static_cast<std::size_t>(which)].view(-1)[i].item<double>(),
                  difference.item<double>() / (2 * step), 1e-8);
    }
  }
}

TEST(CrossEntropy, SurvivesLargeLogits) {
  const at::Tensor hidden = at::full({2, 1}, 1000.0f), head = at::tensor({1.0f, -1.0f, 0.5f}).unsqueeze(1);
  const at::Tensor loss = token_cross_entropy(hidden, head, at::tensor({0, 1}, at::kLong));
  EXPECT_NEAR(loss[0].item<double>(), 0.0, 1e-6);
  EXPECT_NEAR(loss[1].item<double>(), 2000.0, 1e-2);
}

// Every finite bf16 number and floats between it and the next, by the loops' vectors and their tails, against LibTorch.
TEST(BFloat16, RoundsToNearestEven) {
  const at::Tensor halves = at::arange(-(1 << 15), 1 << 15, at::kInt).unsqueeze(1) * (1 << 16);
  const at::Tensor between = at::tensor({0, 1, 0x7fff, 0x8000, 0x8001, 0xffff}, at::kInt);
  const at::Tensor floats = (halves + between).flatten().view(at::kFloat);
  const at::Tensor x = at::where(floats.isfinite(), floats, at::zeros_like(floats)).contiguous();
  for (const std::int64_t K : {2, 16}) {  // x.size(0) is a multiple of both
    const RopeTable unrotated{at::ones({1, K}), at::zeros({1, K})};
    const at::Tensor rows = x.view({1, -1, K});
    const at::Tensor y = rope_split_heads(rows, 1, unrotated, 0, at::kBFloat16).squeeze(1);
    EXPECT_TRUE(at::equal(y, rows.to(at::kBFloat16))) << K;
    EXPECT_TRUE(rope_split_heads(at::full_like(rows, NAN), 1, unrotated, 0, at::kBFloat16).isnan().all().item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(Types, SmallOps,
                         ::testing::Values(Place{at::kFloat, false}, Place{at::kDouble, false},
                                           Place{at::kBFloat16, false}, Place{at::kFloat, true},
                                           Place{at::kBFloat16, true}),
                         [](const auto& instance) {
                           const Place& place = instance.param;
                           const std::string type = place.type == at::kFloat    ? "fp32"
                                                    : place.type == at::kDouble ? "fp64"
                                                                                : "bf16";
                           return type + (place.gpu ? "_on_emulated_gpu" : "");
                         });

}  // namespace
}  // namespace ttt
