// Dynamic evaluation: each chunk is scored before the step that learns from it, and the steps are those of the
// equation.
#include "infer/adapt.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <set>

#include "infer/evaluate.h"
#include "infer/fixture.h"
#include "support/user_error.h"

namespace ttt {
namespace {

class AdaptTest : public InferTest {
 protected:
  static constexpr std::int64_t kIds = 37, kWindow = 12;
  static constexpr std::int32_t kBegin = 3;  // of a document

  static std::vector<float> losses(const Dataset& data, const EvalOptions& options,
                                   MixerKind mixer = MixerKind::kTttLinear) {
    LanguageModel model(tiny(mixer), 5);
    std::vector<float> all;
    evaluate(model, data, options, [&](const torch::Tensor& loss_BT) {
      const torch::Tensor flat = loss_BT.contiguous();
      all.insert(all.end(), flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel());
    });
    return all;
  }

  static EvalOptions adapted(const AdaptOptions& adapt) {
    EvalOptions options;
    options.context = kWindow;
    options.adapt = adapt;
    options.batch = std::max<std::int64_t>(1, adapt.chunk / kWindow);
    return options;
  }

  static EvalOptions plain() {
    EvalOptions options;
    options.context = kWindow;
    return options;
  }

  static double mean(const std::vector<float>& values) {
    double sum = 0;
    for (const float value : values) sum += value;
    return sum / static_cast<double>(values.size());
  }
};

TEST_F(AdaptTest, ARateOfZeroIsPlainEvaluation) {
  const Dataset data(prepare(random_tokens(5 * kWindow + 1, kIds, 3), kIds));
  for (const MixerKind mixer : {MixerKind::kTttLinear, MixerKind::kTttMlp, MixerKind::kMamba, MixerKind::kAttention,
                                MixerKind::kGatedDeltaNet}) {
    const std::vector<float> expected = losses(data, plain(), mixer);
    for (const AdaptMethod method : {AdaptMethod::kSgd, AdaptMethod::kAdamw}) {
      for (const std::int64_t chunk : {5, 12, 24}) {
        const std::vector<float> got = losses(data, adapted({.method = method, .lr = 0, .chunk = chunk}), mixer);
        ASSERT_EQ(got.size(), expected.size());
        for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 2e-5) << chunk << " " << i;
      }
    }
  }
}

// The steps by hand: p -= lr * gradient of the mean over the chunk's scored targets.
TEST_F(AdaptTest, StepsAreThoseOfTheEquation) {
  auto tokens = random_tokens(4 * kWindow + 1, kIds, 4);
  tokens[17] = kBegin;  // is not scored
  const Dataset data(prepare(tokens, kIds, kBegin));
  const std::vector<float> got = losses(data, adapted({.lr = 0.3, .chunk = 8}));
  LanguageModel model(tiny(MixerKind::kTttLinear), 5);
  std::size_t at = 0;
  for (std::int64_t window = 0; window < 4; ++window) {
    const Batch batch = data.batch({window}, kWindow);
    for (const auto& [begin, end] : {std::pair<std::int64_t, std::int64_t>{0, 8}, {8, 12}}) {
      const torch::Tensor loss_T =
          model.token_loss(batch.inputs_BT.narrow(1, 0, end), batch.targets_BT.narrow(1, 0, end), ForwardContext{})
              .flatten()
              .narrow(0, begin, end - begin);
      const torch::Tensor scored_T = batch.targets_BT.flatten().narrow(0, begin, end - begin).ne(kBegin);
      for (std::int64_t t = 0; t < end - begin; ++t, ++at)
        EXPECT_NEAR(got[at], scored_T[t].item<bool>() ? loss_T[t].item<float>() : 0.0F, 2e-5) << at;
      model.zero_grad();
      loss_T.masked_select(scored_T).mean().backward();
      const torch::NoGradGuard no_grad;
      for (torch::Tensor& parameter : model.parameters())
        if (parameter.grad().defined()) parameter.sub_(0.3 * parameter.grad());
    }
  }
  EXPECT_EQ(at, got.size());
}

// What is scored has not seen itself: a changed last token leaves every earlier loss as it is, bit for bit.
TEST_F(AdaptTest, AChunkIsScoredBeforeItIsLearntFrom) {
  const auto tokens = random_tokens(6 * kWindow + 1, kIds, 5);
  for (const std::int64_t chunk : {std::int64_t{6}, kWindow, 2 * kWindow}) {
    const Dataset data(prepare(tokens, kIds));
    auto other = tokens;
    const auto last = static_cast<std::size_t>(2 * std::max(chunk, kWindow));  // the last target of a chunk
    other[last] = (other[last] + 1) % static_cast<std::int32_t>(kIds);
    const Dataset changed(prepare(other, kIds));
    const EvalOptions options = adapted({.method = AdaptMethod::kAdamw, .lr = 0.01, .chunk = chunk});
    const std::vector<float> a = losses(data, options), b = losses(changed, options);
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i + 1 < last; ++i) ASSERT_EQ(a[i], b[i]) << "chunk " << chunk << ", target " << i;
    EXPECT_NE(a[last - 1], b[last - 1]);
    EXPECT_NE(a.back(), b.back());
  }
}

TEST_F(AdaptTest, TextThatRepeatsItselfIsLearnt) {
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < 300; ++i) tokens.push_back(static_cast<std::int32_t>(i % 9));
  const Dataset data(prepare(tokens, kIds));
  const double before = mean(losses(data, plain()));
  EXPECT_LT(mean(losses(data, adapted({.lr = 0.3, .chunk = kWindow}))), before - 0.5);
  EXPECT_LT(mean(losses(data, adapted({.method = AdaptMethod::kAdamw, .lr = 0.02, .chunk = kWindow}))), before - 0.5);
  const double upper = mean(losses(data, adapted({.lr = 0.3, .chunk = kWindow, .layers = {1}})));
  EXPECT_LT(upper, before);
  EXPECT_NE(upper, mean(losses(data, adapted({.lr = 0.3, .chunk = kWindow, .layers = {0}}))));
}

TEST_F(AdaptTest, DocumentsMayBeginAnew) {
  std::vector<std::int32_t> tokens;
  for (int document = 0; document < 3; ++document) {
    tokens.push_back(kBegin);
    for (int i = 0; i < 29; ++i) tokens.push_back(static_cast<std::int32_t>(4 + i % 9));
  }
  tokens.push_back(kBegin);
  const Dataset data(prepare(tokens, kIds, kBegin));
  for (const AdaptMethod method : {AdaptMethod::kSgd, AdaptMethod::kAdamw}) {
    AdaptOptions adapt{.method = method, .lr = 0.05, .chunk = kWindow, .reset_at_documents = true};
    const std::vector<float> anew = losses(data, adapted(adapt));
    ASSERT_EQ(anew.size(), 9 * static_cast<std::size_t>(kWindow)) << "three windows a document, the last is padded";
    for (std::size_t i = 0; i < 3 * kWindow; ++i) {
      EXPECT_EQ(anew[i], anew[3 * kWindow + i]) << i;
      EXPECT_EQ(anew[i], anew[6 * kWindow + i]) << i;
    }
    adapt.reset_at_documents = false;
    const std::vector<float> on = losses(data, adapted(adapt));
    EXPECT_LT(on[6 * kWindow], anew[6 * kWindow]);
  }
}

TEST_F(AdaptTest, LayersAreNumbersAndRanges) {
  EXPECT_EQ(parse_layers("all", 4), std::set<std::int64_t>{});
  EXPECT_EQ(parse_layers("3", 4), (std::set<std::int64_t>{3}));
  EXPECT_EQ(parse_layers("0,2-3", 4), (std::set<std::int64_t>{0, 2, 3}));
  for (const char* wrong : {"", "x", "1,", "2-1", "-1", "1-"})
    EXPECT_NE(user_error_of(folder_, [&] { parse_layers(wrong, 4); }).find("names no layers"), std::string::npos)
        << wrong;
  EXPECT_NE(user_error_of(folder_, [] { parse_layers("2-4", 4); }).find("layers 0 to 3"), std::string::npos);
}

TEST_F(AdaptTest, ARateThatIsTooHighIsNamed) {
  const Dataset data(prepare(random_tokens(40 * kWindow + 1, kIds, 3), kIds));
  EXPECT_NE(user_error_of(folder_, [&] { losses(data, adapted({.lr = 1e30, .chunk = kWindow})); }).find("--adapt-lr"),
            std::string::npos);
}

}  // namespace
}  // namespace ttt
