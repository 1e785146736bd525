// Whole models on the CUDA kernels, run by emulated lanes, against the same models on the CPU: logits, gradients,
// decoding.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/kernel_table.h"
#include "model/language_model.h"
#include "ops/cuda_target.h"
#include "ops/ttt.h"

namespace ttt {
namespace {

constexpr std::int64_t kTokens = 37, kVocabulary = 29;

struct GpuCase {
  std::string name;
  MixerPattern mixer;
  Backbone backbone;
  std::int64_t hidden_size = 128;
};

class EmulatedGpuModel : public ::testing::TestWithParam<GpuCase> {
 protected:
  void SetUp() override {
    at::set_num_threads(1);  // tiny tensors
    torch::manual_seed(7);
    ModelConfig config;
    config.mixer = GetParam().mixer;
    config.backbone = GetParam().backbone;
    config.vocab_size = kVocabulary;
    config.hidden_size = GetParam().hidden_size;
    config.num_heads = 2;
    config.num_layers = static_cast<std::int64_t>(config.mixer.kinds().size());
    config.ttt_base_lr = config.mixer.contains(MixerKind::kTttMlp) ? 0.1 : 1.0;
    config.ttt_base_lr_init = config.ttt_base_lr;
    config.intermediate_size = 56;
    model_ = std::make_unique<LanguageModel>(config, 3);
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model_->parameters()) parameter.add_(0.02 * torch::randn_like(parameter));
    tokens_ = torch::randint(kVocabulary, {1, kTokens + 1}, torch::kLong);
  }

  torch::Tensor inputs() const { return tokens_.narrow(1, 0, kTokens); }
  torch::Tensor logits() {
    const torch::NoGradGuard no_grad;
    return model_->logits(model_->hidden(inputs(), {})).to(torch::kFloat);
  }
  torch::Tensor logits_in_pieces(const std::vector<std::int64_t>& lengths) {
    const torch::NoGradGuard no_grad;
    ModelState state = model_->initial_state(1);
    std::vector<torch::Tensor> all;
    std::int64_t begin = 0;
    for (const auto length : lengths) {
      all.push_back(model_->logits(model_->hidden(tokens_.narrow(1, begin, length), {}, &state)));
      begin += length;
    }
    return torch::cat(all, 1).to(torch::kFloat);
  }
  torch::Tensor gradients() {
    model_->zero_grad();
    model_->token_loss(inputs(), tokens_.narrow(1, 1, kTokens), {}).sum().backward();
    std::vector<torch::Tensor> all;
    for (const auto& parameter : model_->parameters()) all.push_back(parameter.grad().flatten());
    return torch::cat(all);
  }

  static double difference(const torch::Tensor& a, const torch::Tensor& b) {
    return ((a - b).norm() / b.norm()).item<double>();
  }

  std::unique_ptr<LanguageModel> model_;
  torch::Tensor tokens_;
};

TEST_P(EmulatedGpuModel, IsTheSameModel) {
  const torch::Tensor exact = logits(), exact_gradients = gradients();
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
  // fp32: products of 16 bits. Decoding is fp32 throughout.
  EXPECT_LT(difference(logits(), exact), 2e-5);
  EXPECT_LT(difference(gradients(), exact_gradients), 2e-4);
  EXPECT_LT(difference(logits_in_pieces({3, 1, 33}), exact), 2e-5);
  // bf16, as tests/model/law_test.cpp holds the CPU to it.
  model_->set_bf16(true);
  EXPECT_LT(difference(logits(), exact), 0.03);
  EXPECT_LT(difference(gradients(), exact_gradients), 0.15);
  EXPECT_LT(difference(logits_in_pieces({20, 17}), exact), 0.03);
}

INSTANTIATE_TEST_SUITE_P(
    Mixers, EmulatedGpuModel,
    ::testing::Values(GpuCase{"ttt_linear_transformer", MixerPattern({MixerKind::kTttLinear}), Backbone::kTransformer},
                      GpuCase{"ttt_linear_mamba", MixerPattern({MixerKind::kTttLinear}), Backbone::kMamba},
                      GpuCase{"ttt_mlp_mamba", MixerPattern({MixerKind::kTttMlp}), Backbone::kMamba},
                      GpuCase{"mamba_attention", MixerPattern({MixerKind::kMamba, MixerKind::kAttention}),
                              Backbone::kTransformer},
                      // Parts of a row of the projection to dt, B and C begin between addresses of 16 bytes.
                      GpuCase{"mamba_96", MixerPattern({MixerKind::kMamba}), Backbone::kTransformer, 96}),
    [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace ttt
