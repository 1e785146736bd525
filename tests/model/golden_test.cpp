// The models against outputs, gradients and inner statistics of the official JAX code, against the official PyTorch
// model's prefill and decode, and against Hugging Face's Llama and Mamba. A right implementation in fp32 reaches 1e-6
// (outputs) and 4e-6 (gradients), relative to a tensor's largest value; the limits are ten times that.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "base/json.h"
#include "convert/jax.h"
#include "model/layout.h"
#include "support/golden.h"

namespace ttt {
namespace {

constexpr double kOutputTolerance = 1e-5;
constexpr double kGradientTolerance = 4e-5;

// The cases that the project carries; the others are run where TTT_GOLDEN_DIR holds them.
const std::vector<std::string> kJaxCases = {"attention",         "ttt_linear_transformer", "ttt_mlp_transformer",
                                            "ttt_linear_head96", "train_attention",        "train_ttt_linear",
                                            "train_ttt_mlp"};
const std::vector<std::string> kMoreJaxCases = {"ttt_linear_mamba", "ttt_mlp_mamba"};
const std::vector<std::string> kHuggingFaceCases = {"hf_llama", "hf_mamba", "hf_ttt_linear_mamba", "hf_ttt_mlp_mamba"};
const std::vector<std::string> kMoreHuggingFaceCases = {"hf_ttt_linear_transformer", "hf_ttt_mlp_transformer"};

std::vector<std::string> cases(std::vector<std::string> carried, const std::vector<std::string>& more) {
  for (const std::string& name : more)
    if (std::getenv("TTT_GOLDEN_DIR") != nullptr && has_golden(name)) carried.push_back(name);
  return carried;
}

ModelConfig config_of_jax_case(const Json& json) {
  ModelConfig config;
  std::string block = json["block"];
  config.backbone = block.ends_with("_base") ? Backbone::kTransformer : Backbone::kMamba;
  if (block.ends_with("_base")) block.resize(block.size() - std::string("_base").size());
  config.mixer = block == "self_attention" ? MixerKind::kAttention
                 : block == "ttt_linear"   ? MixerKind::kTttLinear
                                           : MixerKind::kTttMlp;
  config.pre_conv = json["pre_conv"];
  config.hidden_size = json["width"];
  config.num_heads = json["heads"];
  config.num_layers = json["layers"];
  config.intermediate_size = json["ffn"];
  config.vocab_size = json["vocab"];
  config.tie_embeddings = json.value("tied", true);
  config.ttt_base_lr = json.value("ttt_base_lr", -1.0);
  return config;
}

class JaxGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(JaxGolden, OutputsGradientsAndStatistics) {
  const SafetensorsFile golden = load_golden(GetParam());
  const Json json = Json::parse(golden.metadata.at("case"));
  const ModelConfig config = config_of_jax_case(json);
  LanguageModel model(config, 1);
  const auto parameters = model.named_parameters();
  {
    const torch::NoGradGuard no_grad;
    for (const auto& [name, value] : parameters_from_jax(golden_tensors(golden, "param/"), config, golden.path))
      parameters[name].copy_(value);
  }
  std::vector<InnerLoopStats> stats;
  ForwardContext context;
  context.ttt_lr_mult = json.value("ttt_lr_mult", 1.0);
  context.stats = &stats;
  const torch::Tensor tokens_BT = golden.at("input_tokens").to(torch::kLong);
  const torch::Tensor targets_BT = golden.at("target_tokens").to(torch::kLong);

  double worst_output = 0, worst_gradient = 0, worst_stats = 0;
  const torch::Tensor loss_BT = model.token_loss(tokens_BT, targets_BT, context);
  EXPECT_TRUE(compare(golden, "token_loss", loss_BT, kOutputTolerance, &worst_output));
  EXPECT_TRUE(compare(golden, "loss", loss_BT.mean(), kOutputTolerance, &worst_output));
  loss_BT.mean().backward();
  std::size_t gradients = 0;
  for (const JaxName& name : jax_names(config)) {
    const torch::Tensor grad = from_jax_layout(parameters[name.parameter].grad(), name.layout);  // an involution
    EXPECT_TRUE(compare(golden, "grad/" + name.jax, grad, kGradientTolerance, &worst_gradient));
    ++gradients;
  }
  EXPECT_EQ(gradients, golden_names(golden, "grad/").size());
  EXPECT_EQ(gradients, parameters.size());
  {
    const torch::NoGradGuard no_grad;
    context.stats = nullptr;
    EXPECT_TRUE(
        compare(golden, "logits", model.logits(model.hidden(tokens_BT, context)), kOutputTolerance, &worst_output));
  }
  EXPECT_EQ(stats.size(), config.has_ttt() ? static_cast<std::size_t>(config.num_layers) : 0);
  for (const InnerLoopStats& layer : stats) {
    const std::string prefix = "ttt_stats/" + std::to_string(layer.layer) + "/";
    EXPECT_TRUE(compare(golden, prefix + "target_variance", layer.target_variance, kOutputTolerance, &worst_stats));
    EXPECT_TRUE(compare(golden, prefix + "loss_W0", layer.loss_w0, kOutputTolerance, &worst_stats));
    EXPECT_TRUE(compare(golden, prefix + "loss_before", layer.loss_before, kOutputTolerance, &worst_stats));
    EXPECT_TRUE(compare(golden, prefix + "loss_after", layer.loss_after, kOutputTolerance, &worst_stats));
  }
  RecordProperty("worst_output", std::to_string(worst_output * 1e6) + "e-6");
  std::printf("%s: outputs %.1e, gradients %.1e, statistics %.1e\n", GetParam().c_str(), worst_output, worst_gradient,
              worst_stats);
}

INSTANTIATE_TEST_SUITE_P(Cases, JaxGolden, ::testing::ValuesIn(cases(kJaxCases, kMoreJaxCases)),
                         [](const auto& instance) { return instance.param; });

class HuggingFaceGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(HuggingFaceGolden, OutputsGradientsAndDecoding) {
  const SafetensorsFile golden = load_golden(GetParam());
  const ModelConfig config = model_config_from_hugging_face(Json::parse(golden.metadata.at("config")), golden.path);
  LanguageModel model(config, 1);
  NamedTensors weights;
  for (const auto& [name, tensor] : golden_tensors(golden, "param/")) weights.emplace_back(name.substr(6), tensor);
  import_parameters(model, weights, golden.path);

  double worst_output = 0, worst_gradient = 0, worst_decode = 0;
  const torch::Tensor tokens_BT = golden.at("input_tokens").to(torch::kLong);
  const auto T = tokens_BT.size(1);
  const torch::Tensor loss_BT =
      model.token_loss(tokens_BT.narrow(1, 0, T - 1).contiguous(), tokens_BT.narrow(1, 1, T - 1).contiguous(), {});
  EXPECT_TRUE(compare(golden, "token_loss", loss_BT, kOutputTolerance, &worst_output));
  EXPECT_TRUE(compare(golden, "loss", loss_BT.mean(), kOutputTolerance, &worst_output));
  const std::vector<std::string> gradient_names = golden_names(golden, "grad/");
  if (!gradient_names.empty()) {
    loss_BT.mean().backward();
    NamedTensors by_parameter;
    for (const auto& parameter : model.named_parameters())
      by_parameter.emplace_back(parameter.key(), parameter.value().grad());
    for (const auto& [name, grad] : to_file_layout(config, by_parameter))
      EXPECT_TRUE(compare(golden, "grad/" + name, grad, kGradientTolerance, &worst_gradient));
    EXPECT_EQ(gradient_names.size(), by_parameter.size());
  }
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(compare(golden, "logits", model.logits(model.hidden(tokens_BT, {})), kOutputTolerance, &worst_output));
  if (!golden_names(golden, "decode/logits").empty()) {
    const auto prompt = golden.at("decode/prefill_tokens").item<std::int64_t>();
    ModelState state = model.initial_state(tokens_BT.size(0));
    std::vector<torch::Tensor> logits = {model.advance(tokens_BT.narrow(1, 0, prompt), state)};
    for (auto t = prompt; t < T; ++t) logits.push_back(model.advance(tokens_BT.narrow(1, t, 1), state));
    EXPECT_TRUE(compare(golden, "decode/logits", torch::stack(logits, 1), kOutputTolerance, &worst_decode));
  }
  std::printf("%s: outputs %.1e, gradients (%zu) %.1e, decoding %.1e\n", GetParam().c_str(), worst_output,
              gradient_names.size(), worst_gradient, worst_decode);
}

INSTANTIATE_TEST_SUITE_P(Cases, HuggingFaceGolden, ::testing::ValuesIn(cases(kHuggingFaceCases, kMoreHuggingFaceCases)),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace ttt
