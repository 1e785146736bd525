// bf16 products through fp32 panels: sums as good as fp32's, rounded once; the ops that use them; which of two ways a
// measurement chooses.
#include "ops/products.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <tuple>

#include "ops/attention.h"
#include "ops/cross_entropy.h"
#include "ops/linear.h"

namespace ttt {
namespace {

// Largest difference relative to the largest value of `expected`.
double difference(const at::Tensor& actual, const at::Tensor& expected) {
  EXPECT_EQ(actual.sizes(), expected.sizes());
  return (actual.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>() /
         expected.abs().max().item<double>();
}

at::Tensor random(at::IntArrayRef sizes) {
  return at::randn(sizes).to(at::kBFloat16);
}

class Bf16ProductsTest : public ::testing::TestWithParam<Bf16Products> {
 protected:
  void SetUp() override {
    torch::manual_seed(5);
    set_bf16_products(GetParam());
  }
  ~Bf16ProductsTest() override { set_bf16_products(Bf16Products::kNative); }
};

// A result is rounded to 8 bits, by at most 2^-8 of itself.
constexpr double kRounded = 0.0039, kWide = 2e-6;

// Every size on both sides of a panel's 2048, operands as they are and transposed, sums alone and added up.
TEST(Fp32Panels, EqualFp64RoundedOnce) {
  torch::manual_seed(5);
  set_bf16_products(Bf16Products::kFp32Panels);
  for (const auto& [m, k, n] :
       {std::tuple(1, 1, 1), std::tuple(5, 3, 7), std::tuple(64, 96, 33), std::tuple(2050, 9, 5),
        std::tuple(3, 4099, 6), std::tuple(2, 17, 2049), std::tuple(2049, 33, 2050)}) {
    for (const bool transposed : {false, true}) {
      const at::Tensor a = transposed ? random({k, m}).t() : random({m, k});
      const at::Tensor b = transposed ? random({n, k}).t() : random({k, n});
      const at::Tensor exact = at::mm(a.to(at::kDouble), b.to(at::kDouble)), before = random({m, n});
      SCOPED_TRACE(::testing::Message() << m << " x " << k << " x " << n << (transposed ? ", transposed" : ""));
      at::Tensor c = at::full({m, n}, NAN, at::kBFloat16), wide = at::full({m, n}, NAN);
      product_out(c, a, b);
      product_out(wide, a, b);
      EXPECT_LE(difference(c, exact), kRounded);
      EXPECT_LE(difference(wide, exact), kWide);
      c = before.clone(), wide = before.to(at::kFloat);
      product_out(c, a, b, /*accumulate=*/true);
      product_out(wide, a, b, /*accumulate=*/true);
      EXPECT_LE(difference(c, before.to(at::kDouble) + exact), kRounded);
      EXPECT_LE(difference(wide, before.to(at::kDouble) + exact), kWide);
    }
  }
  set_bf16_products(Bf16Products::kNative);
}

TEST_P(Bf16ProductsTest, PartsOfLargerTensors) {
  const at::Tensor a = random({40, 70}).narrow(1, 3, 50), b = random({90, 60}).narrow(0, 20, 50);
  at::Tensor whole = at::zeros({44, 60}), c = whole.narrow(0, 2, 40);
  product_out(c, a, b);
  EXPECT_LE(difference(c, at::mm(a.to(at::kDouble), b.to(at::kDouble))), kRounded);
  EXPECT_EQ(whole.narrow(0, 0, 2).abs().max().item<float>(), 0);
  EXPECT_EQ(whole.narrow(0, 42, 2).abs().max().item<float>(), 0);
}

// The layer, the loss and attention on bf16 tensors and fp32 masters, against fp64: values and every gradient.
void expect_like_fp64(const std::function<at::Tensor(const std::vector<at::Tensor>&)>& op,
                      const std::vector<at::Tensor>& inputs, const std::vector<at::ScalarType>& gradients) {
  std::vector<at::Tensor> leaves, exact;
  for (const at::Tensor& input : inputs) {
    leaves.push_back(input.detach().requires_grad_(true));
    // Masters are rounded first, so that both see the same numbers.
    exact.push_back(input.detach().to(at::kBFloat16).to(at::kDouble).requires_grad_(true));
  }
  const at::Tensor y = op(leaves), expected = op(exact);
  EXPECT_LE(difference(y, expected), 0.01);
  const at::Tensor dy = at::randn_like(y);
  const auto actual = torch::autograd::grad({y}, leaves, {dy});
  const auto right = torch::autograd::grad({expected}, exact, {dy.to(at::kDouble)});
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    EXPECT_LE(difference(actual[i], right[i]), 0.015) << "gradient " << i;
    EXPECT_EQ(actual[i].scalar_type(), gradients[i]) << "gradient " << i;
  }
}

TEST_P(Bf16ProductsTest, TheLinearLayer) {
  const auto layer = [](const std::vector<at::Tensor>& in) {
    return linear_layer(in[0], in[1], in.size() > 2 ? in[2] : at::Tensor());
  };
  const at::Tensor x = random({2, 9, 24}), weight = at::randn({17, 24}), bias = at::randn({17});
  expect_like_fp64(layer, {x, weight}, {at::kBFloat16, at::kFloat});
  expect_like_fp64(layer, {x, weight, bias}, {at::kBFloat16, at::kFloat, at::kFloat});
  expect_like_fp64(layer, {x, weight.to(at::kBFloat16)}, {at::kBFloat16, at::kBFloat16});
  const torch::NoGradGuard no_grad;  // the token of decoding has loops of its own, the same numbers but for rounding
  const at::Tensor one = linear_layer(x.narrow(0, 0, 1).narrow(1, 0, 1), weight);
  EXPECT_LE(difference(one, linear_layer(x, weight).narrow(0, 0, 1).narrow(1, 0, 1)), 0.005);
}

TEST_P(Bf16ProductsTest, TheLossInChunks) {
  const at::Tensor targets = at::randint(0, 300, {70}, at::kLong);
  const auto loss = [&](const std::vector<at::Tensor>& in) {
    return token_cross_entropy(in[0], in[1], targets, /*chunk_tokens=*/16);
  };
  expect_like_fp64(loss, {random({70, 24}), at::randn({300, 24})}, {at::kBFloat16, at::kFloat});
}

TEST_P(Bf16ProductsTest, Attention) {
  for (const std::int64_t window : {0, 5}) {
    const auto attention = [&](const std::vector<at::Tensor>& in) {
      return causal_attention(in[0], in[1], in[2], window);
    };
    expect_like_fp64(attention, {random({2, 3, 40, 16}), random({2, 3, 40, 16}), random({2, 3, 40, 16})},
                     {at::kBFloat16, at::kBFloat16, at::kBFloat16});
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Bf16ProductsTest, ::testing::Values(Bf16Products::kNative, Bf16Products::kFp32Panels),
                         [](const auto& instance) { return to_string(instance.param); });

// The ways differ in rounding alone, so a test that fp32_panels is taken has to look at bits.
TEST(Bf16ProductsChoice, IsWhatTheOpsTake) {
  torch::manual_seed(6);
  const torch::NoGradGuard no_grad;
  const at::Tensor x = at::randn({64, 256}).to(at::kBFloat16), w = at::randn({128, 256}).to(at::kBFloat16);
  set_bf16_products(Bf16Products::kFp32Panels);
  const at::Tensor expected = at::mm(x.to(at::kFloat), w.to(at::kFloat).t()).to(at::kBFloat16);
  EXPECT_TRUE(at::equal(linear_layer(x, w), expected));
  EXPECT_TRUE(through_fp32_panels(x));
  EXPECT_FALSE(through_fp32_panels(x.to(at::kFloat)));
  set_bf16_products(Bf16Products::kNative);
  EXPECT_FALSE(through_fp32_panels(x));
  EXPECT_TRUE(at::equal(linear_layer(x, w), at::linear(x, w)));
}

TEST(Bf16ProductsChoice, TheFasterOneUnlessTheyAreClose) {
  EXPECT_EQ((Bf16ProductSpeed{800, 90}.faster()), Bf16Products::kNative);
  EXPECT_EQ((Bf16ProductSpeed{95, 100}.faster()), Bf16Products::kNative);
  EXPECT_EQ((Bf16ProductSpeed{0.5, 20}.faster()), Bf16Products::kFp32Panels);
  const Bf16ProductSpeed here = measure_bf16_products();
  EXPECT_GT(here.native, 0);
  EXPECT_GT(here.fp32_panels, 0);
  for (const Bf16Products each : {Bf16Products::kNative, Bf16Products::kFp32Panels})
    EXPECT_EQ(bf16_products_of(to_string(each)), each);
}

}  // namespace
}  // namespace ttt
