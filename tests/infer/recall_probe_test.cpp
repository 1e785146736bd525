// The recall probe: how its texts are made, that its numbers are those of the texts, and that what a model cannot reach
// shows no gain.
#include "infer/recall_probe.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "infer/fixture.h"
#include "support/user_error.h"

namespace ttt {
namespace {

class RecallProbeTest : public InferTest {
 protected:
  static constexpr std::int64_t kIds = 37;

  // With dependence on what was read that matters.
  static void stir(LanguageModel& model) {
    torch::manual_seed(5);
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model.parameters()) parameter.add_(0.3 * torch::randn_like(parameter));
  }
};

TEST_F(RecallProbeTest, PassagesStandWhereTheyShould) {
  const RecallOptions options{.context = 60, .passage = 8};
  for (const std::int64_t n : {400, 76}) {  // 76: the fewest that will do
    SCOPED_TRACE(n);
    const auto tokens = random_tokens(n, 1 << 20, 3);  // of so many ids that places can be told by them
    const Dataset data(prepare(tokens, 1 << 20));
    std::set<std::int64_t> begins;
    for (std::int64_t i = 0; i < 50; ++i) {
      const RecallProbe probe = make_recall_probe(data, options, i);
      ASSERT_EQ(probe.text.size(), 60U);
      ASSERT_EQ(probe.passage.size(), 8U);
      const auto begin = std::find(tokens.begin(), tokens.end(), probe.text.front()) - tokens.begin();
      const auto from = std::find(tokens.begin(), tokens.end(), probe.passage.front()) - tokens.begin();
      EXPECT_TRUE(from + 8 <= begin || from >= begin + 60) << "the passage is from elsewhere";
      for (std::ptrdiff_t t = 0; t < 52; ++t) EXPECT_EQ(probe.text[t], tokens[begin + t]);
      for (std::ptrdiff_t t = 0; t < 8; ++t) EXPECT_EQ(probe.text[52 + t], tokens[from + t]);
      const std::vector<std::int64_t> planted = planted_text(probe, 20);
      for (std::ptrdiff_t t = 0; t < 60; ++t)
        EXPECT_EQ(planted[t], t >= 32 && t < 40 ? probe.passage[t - 32] : probe.text[t]) << t;
      begins.insert(begin);
    }
    EXPECT_GT(begins.size(), n == 400 ? 30U : 10U);
    EXPECT_EQ(make_recall_probe(data, options, 7).text, make_recall_probe(data, options, 7).text);
  }
}

TEST_F(RecallProbeTest, NumbersAreThoseOfTheTexts) {
  const Dataset data(prepare(random_tokens(300, kIds, 3), kIds));
  for (const MixerKind mixer : {MixerKind::kTttLinear, MixerKind::kMamba, MixerKind::kGatedDeltaNet}) {
    LanguageModel model(tiny(mixer), 5);
    stir(model);
    const RecallOptions options{.context = 40, .passage = 6, .distances = {6, 13, 34}, .probes = 5, .batch = 3};
    const RecallTable table = recall_table(model, data, options);
    ASSERT_EQ(table.points.size(), 3U);
    const torch::NoGradGuard no_grad;
    const auto loss_of = [&](const std::vector<std::int64_t>& text) {
      const torch::Tensor all = torch::tensor(text, torch::kLong).view({1, 40});
      return model.token_loss(all.narrow(1, 0, 39), all.narrow(1, 1, 39), ForwardContext{})
          .narrow(1, 34, 5)
          .mean()
          .item<double>();
    };
    for (const RecallPoint& point : table.points) {
      double fresh = 0, planted = 0;
      for (std::int64_t i = 0; i < 5; ++i) {
        const RecallProbe probe = make_recall_probe(data, options, i);
        fresh += loss_of(probe.text) / 5;
        planted += loss_of(planted_text(probe, point.distance)) / 5;
      }
      EXPECT_NEAR(point.fresh, fresh, 1e-5);
      EXPECT_NEAR(point.planted, planted, 1e-5);
      EXPECT_NEAR(point.gain, fresh - planted, 1e-5);
      EXPECT_GT(std::abs(point.gain), 1e-5) << "what was planted is read";
      EXPECT_LE(point.low, point.gain);
      EXPECT_LE(point.gain, point.high);
    }
    RecallOptions in_pieces = options;
    in_pieces.piece = 7;
    const RecallTable pieces = recall_table(model, data, in_pieces);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(pieces.points[i].gain, table.points[i].gain, 1e-4);
  }
}

// Two layers with a window of 8 tokens reach back by 14.
TEST_F(RecallProbeTest, BeyondAnAttentionsWindowThereIsNoGain) {
  const Dataset data(prepare(random_tokens(400, kIds, 3), kIds));
  ModelConfig config = tiny(MixerKind::kAttention);
  config.attention_window = 8;
  LanguageModel model(config, 5);
  stir(model);
  const RecallTable table =
      recall_table(model, data, {.context = 64, .passage = 5, .distances = {5, 8, 20, 40, 59}, .probes = 8});
  EXPECT_GT(std::abs(table.points[0].gain), 1e-4);
  EXPECT_GT(std::abs(table.points[1].gain), 1e-4);
  for (std::size_t i = 2; i < 5; ++i) EXPECT_NEAR(table.points[i].gain, 0, 1e-6) << table.points[i].distance;
}

TEST_F(RecallProbeTest, SaysWhatDoesNotFit) {
  EXPECT_EQ(default_distances(512, 32), (std::vector<std::int64_t>{32, 64, 128, 256}));
  const Dataset data(prepare(random_tokens(100, kIds, 3), kIds));
  LanguageModel model(tiny(MixerKind::kMamba), 5);
  const auto refusal = [&](const RecallOptions& options) {
    return user_error_of(folder_, [&] { recall_table(model, data, options); });
  };
  EXPECT_NE(refusal({.context = 40, .passage = 1}).find("at least 2"), std::string::npos);
  EXPECT_NE(refusal({.context = 40, .passage = 21}).find("no room for a passage of 21"), std::string::npos);
  EXPECT_NE(refusal({.context = 40, .passage = 8, .distances = {7}}).find("from 8 to 32"), std::string::npos);
  EXPECT_NE(refusal({.context = 40, .passage = 8, .distances = {33}}).find("from 8 to 32"), std::string::npos);
  EXPECT_NE(refusal({.context = 90, .passage = 8}).find("too few"), std::string::npos);
}

}  // namespace
}  // namespace ttt
