// The Gated DeltaNet mixer against Hugging Face's Qwen3NextGatedDeltaNet (outputs and every gradient), on every row of
// the op; decoding in pieces; layers without a gate and with beta up to 2; bf16.
#include "nn/mixer/gated_deltanet.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "ops/gated_delta.h"
#include "support/golden.h"

namespace ttt {
namespace {

constexpr double kLayerTolerance = 1e-5, kLayerGradientTolerance = 3e-5;

GatedDeltaConfig config_of(const SafetensorsFile& golden) {
  const Json json = Json::parse(golden.metadata.at("case"));
  GatedDeltaConfig config;
  config.hidden_size = json["hidden_size"];
  config.num_heads = json["num_heads"];
  config.head_dim = json["head_dim"];
  config.value_dim = config.head_dim * json["expand_v"].get<std::int64_t>();
  config.allow_neg_eigval = json["allow_neg_eigval"];
  config.norm_eps = json["norm_eps"];
  return config;
}

GatedDeltaMixer golden_mixer(const SafetensorsFile& golden) {
  const torch::NoGradGuard no_grad;
  GatedDeltaMixer mixer(config_of(golden));
  for (const auto& parameter : mixer.named_parameters()) parameter.value().copy_(golden.at("param/" + parameter.key()));
  return mixer;
}

// A mixer with small random parameters.
GatedDeltaMixer random_mixer(const GatedDeltaConfig& config) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(7);
  GatedDeltaMixer mixer(config);
  for (const auto& parameter : mixer.named_parameters()) parameter.value().normal_(0, 0.3);
  return mixer;
}

std::vector<std::string> rows_of(const GatedDeltaConfig& c) {
  std::vector<std::string> names;
  for (const GatedDeltaKernel& row : gated_delta_kernels())
    if (takes(row.needs, gated_delta_call(c.head_dim, c.value_dim))) names.push_back(row.name);
  return names;
}

std::size_t row_of(const std::string& name) {
  return gated_delta_kernels().find(name, "the test");
}

double largest_error(const torch::Tensor& actual, const torch::Tensor& expected) {
  return ((actual - expected).abs().max() / expected.abs().max()).item<double>();
}

class GatedDeltaGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(GatedDeltaGolden, OutputsAndGradients) {
  const SafetensorsFile golden = load_golden(GetParam());
  for (const std::string& row : rows_of(config_of(golden))) {
    const ForcedRow forced(gated_delta_kernels(), row_of(row));
    GatedDeltaMixer mixer = golden_mixer(golden);
    const torch::Tensor x = golden.at("x").clone().requires_grad_(true);
    const torch::Tensor y = mixer.forward(x, ForwardContext{}, nullptr);
    EXPECT_TRUE(compare(golden, "y", y.detach(), kLayerTolerance)) << row;
    y.backward(golden.at("grad_y"));
    EXPECT_TRUE(compare(golden, "grad/x", x.grad(), kLayerGradientTolerance)) << row;
    std::size_t compared = 1;
    for (const auto& parameter : mixer.named_parameters()) {
      EXPECT_TRUE(compare(golden, "grad/" + parameter.key(), parameter.value().grad(), kLayerGradientTolerance)) << row;
      ++compared;
    }
    EXPECT_EQ(compared, golden_names(golden, "grad/").size());
  }
}

TEST_P(GatedDeltaGolden, DecodingInPiecesIsTheWhole) {
  const torch::NoGradGuard no_grad;
  const SafetensorsFile golden = load_golden(GetParam());
  const torch::Tensor& x_BTD = golden.at("x");
  for (const std::string& row : rows_of(config_of(golden))) {
    const ForcedRow forced(gated_delta_kernels(), row_of(row));
    GatedDeltaMixer mixer = golden_mixer(golden);
    std::unique_ptr<MixerState> state = mixer.initial_state(x_BTD.size(0)), kept;
    std::vector<torch::Tensor> parts;
    std::int64_t begin = 0;
    for (const std::int64_t length : {1, 2, 40, 1, 1, 5, 33}) {
      if (begin == 44) kept = state->clone();
      parts.push_back(mixer.forward(x_BTD.narrow(1, begin, length), ForwardContext{}, state.get()));
      begin += length;
    }
    const torch::Tensor y_BTD = at::cat(parts, 1), expected = golden.at("y").narrow(1, 0, begin);
    EXPECT_LT(largest_error(y_BTD, expected), kLayerTolerance) << row;
    // A clone goes on by itself from where it was made.
    const torch::Tensor again = mixer.step(x_BTD.select(1, 44), *kept);
    EXPECT_LT(largest_error(again, expected.select(1, 44)), kLayerTolerance) << row;
    EXPECT_EQ(kept->bytes(), state->bytes());
  }
}

INSTANTIATE_TEST_SUITE_P(HuggingFace, GatedDeltaGolden, ::testing::Values("gated_deltanet", "gated_deltanet_k64"),
                         [](const auto& value) { return value.param; });

// Equation by equation, token by token, in fp64.
torch::Tensor by_definition(const GatedDeltaMixer& mixer, const GatedDeltaConfig& c, const torch::Tensor& x_BTD) {
  const auto parameters = mixer.named_parameters();
  const auto of = [&](const char* name) { return parameters[name].to(at::kDouble); };
  const auto H = c.num_heads, K = c.head_dim, V = c.value_dim, B = x_BTD.size(0), T = x_BTD.size(1);
  const torch::Tensor x = x_BTD.to(at::kDouble);
  const auto conv = [&](const std::string& name, std::int64_t size) {
    const torch::Tensor in = at::matmul(x, of((name + "_proj.weight").c_str()).t());
    const torch::Tensor padded = at::constant_pad_nd(in, {0, 0, 3, 0}), weight = of((name + "_conv1d.weight").c_str());
    torch::Tensor sum = at::zeros_like(in);
    for (std::int64_t w = 0; w < 4; ++w) sum = sum + padded.narrow(1, w, T) * weight.select(2, w).squeeze(1);
    return at::silu(sum).unflatten(2, {H, size});
  };
  const torch::Tensor v = conv("v", V);
  torch::Tensor q = conv("q", K), k = conv("k", K);
  q = q / (q.square().sum(-1, true) + 1e-6).sqrt() / std::sqrt(static_cast<double>(K));
  k = k / (k.square().sum(-1, true) + 1e-6).sqrt();
  const torch::Tensor beta = at::sigmoid(at::matmul(x, of("b_proj.weight").t())) * (c.allow_neg_eigval ? 2 : 1);
  const torch::Tensor alpha =
      at::exp(-at::exp(of("A_log")) * at::log1p(at::exp(at::matmul(x, of("a_proj.weight").t()) + of("dt_bias"))));
  torch::Tensor S = at::zeros({B, H, K, V}, at::kDouble);
  std::vector<torch::Tensor> rows;
  for (std::int64_t t = 0; t < T; ++t) {
    const torch::Tensor k_t = k.select(1, t).unsqueeze(-1);
    S = alpha.select(1, t).unsqueeze(-1).unsqueeze(-1) * S;
    const torch::Tensor error = v.select(1, t).unsqueeze(-2) - (k_t * S).sum(-2, true);
    S = S + beta.select(1, t).unsqueeze(-1).unsqueeze(-1) * k_t * error;
    rows.push_back((q.select(1, t).unsqueeze(-1) * S).sum(-2));
  }
  torch::Tensor o = at::stack(rows, 1);
  o = o * (o.square().mean(-1, true) + c.norm_eps).rsqrt() * of("o_norm.weight");
  o = o.flatten(2);
  if (c.use_gate) o = o * at::silu(at::matmul(x, of("g_proj.weight").t()));
  return at::matmul(o, of("o_proj.weight").t());
}

TEST(GatedDeltaMixer, IsItsDefinitionWithEveryChoice) {
  for (const bool use_gate : {true, false}) {
    for (const bool allow_neg_eigval : {false, true}) {
      const GatedDeltaConfig config{24, 2, 16, 48, use_gate, allow_neg_eigval};
      GatedDeltaMixer mixer = random_mixer(config);
      EXPECT_EQ(mixer.named_parameters().contains("g_proj.weight"), use_gate);
      const torch::NoGradGuard no_grad;
      const torch::Tensor x = torch::randn({2, 70, 24});
      EXPECT_LT(
          largest_error(mixer.forward(x, ForwardContext{}, nullptr).to(at::kDouble), by_definition(mixer, config, x)),
          kLayerTolerance)
          << use_gate << allow_neg_eigval;
    }
  }
}

// Inner sums stay fp32: what remains is the rounding of bf16 activations.
TEST(GatedDeltaMixer, TakesBf16) {
  const GatedDeltaConfig config{64, 2, 32, 64};
  GatedDeltaMixer mixer = random_mixer(config);
  const torch::Tensor x = torch::randn({2, 70, 64}).to(at::kBFloat16);
  const torch::Tensor y = mixer.forward(x, ForwardContext{}, nullptr);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_LT(largest_error(y.to(at::kDouble), by_definition(mixer, config, x)), 5e-2);
  y.sum().backward();
  for (const auto& parameter : mixer.named_parameters()) {
    EXPECT_TRUE(parameter.value().grad().defined()) << parameter.key();
    EXPECT_EQ(parameter.value().grad().scalar_type(), at::kFloat) << parameter.key();
    EXPECT_TRUE(at::isfinite(parameter.value().grad()).all().item<bool>()) << parameter.key();
  }
}

TEST(GatedDeltaMixer, FreshStateEqualsNoState) {
  const torch::NoGradGuard no_grad;
  GatedDeltaMixer mixer = random_mixer({32, 2, 16, 32});
  const torch::Tensor x = torch::randn({1, 20, 32});
  const std::unique_ptr<MixerState> state = mixer.initial_state(1);
  EXPECT_LT(largest_error(mixer.forward(x, ForwardContext{}, state.get()), mixer.forward(x, ForwardContext{}, nullptr)),
            1e-5);
  EXPECT_EQ(state->bytes(), 4 * (3 * (32 + 32 + 64) + 2 * 16 * 32));
}

}  // namespace
}  // namespace ttt
