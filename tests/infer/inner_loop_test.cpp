// The table of the inner loops: averages over windows do not depend on the batches, and are those of the statistics.
#include "infer/inner_loop.h"

#include "infer/fixture.h"

namespace ttt {
namespace {

class InnerLoopTableTest : public InferTest {};

TEST_F(InnerLoopTableTest, AveragesTheStatisticsOfAllWindows) {
  const Dataset data(prepare(random_tokens(5 * 14 + 6, 37, 3), 37));
  LanguageModel model(tiny(MixerKind::kTttLinear), 5);
  const InnerLoopTable one = inner_loop_table(model, data, {.context = 14, .batch = 1}),
                       three = inner_loop_table(model, data, {.context = 14, .batch = 3});
  ASSERT_EQ(one.layers.size(), 2U);
  EXPECT_EQ(one.windows, 5);
  EXPECT_EQ(one.last_token(3), 14);  // a short last mini-batch
  for (std::size_t layer = 0; layer < 2; ++layer) {
    const InnerLoopLayer &a = one.layers[layer], &b = three.layers[layer];
    ASSERT_EQ(a.loss_w0.size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(a.loss_w0[i], b.loss_w0[i], 1e-5);
      EXPECT_NEAR(a.loss_after[i], b.loss_after[i], 1e-5);
      EXPECT_NEAR(a.weight_change[i], b.weight_change[i], 1e-5);
      EXPECT_NEAR(a.learning_rate[i], b.learning_rate[i], 1e-7);
      EXPECT_NE(a.loss_after[i], a.loss_before[i]);
    }
    EXPECT_DOUBLE_EQ(a.loss_before[0], a.loss_w0[0]) << "the first mini-batch starts from W0";
    EXPECT_GT(a.weight_change[3], a.weight_change[0]);
  }

  // By hand, from the statistics of each window.
  double before = 0, rate = 0;
  for (std::int64_t window = 0; window < 5; ++window) {
    std::vector<InnerLoopStats> stats;
    ForwardContext context;
    context.stats = &stats;
    const torch::NoGradGuard no_grad;
    model.hidden(data.batch({window}, 14).inputs_BT, context);
    before += stats[1].loss_before[2].item<double>() / 5;
    rate += stats[1].sigma.view({2, 14}).narrow(1, 8, 4).mean().item<double>() / 5;
  }
  EXPECT_NEAR(one.layers[1].loss_before[2], before, 1e-6);
  EXPECT_NEAR(one.layers[1].learning_rate[2], rate, 1e-8);

  const Json json = to_json(one);
  EXPECT_EQ(json["layers"][1]["from"], Json({1, 5, 9, 13}));
  EXPECT_EQ(json["layers"][1]["to"], Json({4, 8, 12, 14}));
  EXPECT_NE(to_text(one).find("13..14"), std::string::npos);
  EXPECT_NE(to_svg(one).find("layer 1"), std::string::npos);
  EXPECT_EQ(inner_loop_table(model, data, {.context = 14, .batch = 2, .max_windows = 3}).windows, 3);
}

TEST_F(InnerLoopTableTest, SaysWhatItCannotShow) {
  const Dataset data(prepare(random_tokens(20, 37, 3), 37));
  const auto message = [&](MixerKind mixer, std::int64_t context) {
    LanguageModel model(tiny(mixer), 5);
    try {
      inner_loop_table(model, data, {.context = context});
    } catch (const UserError& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  EXPECT_NE(message(MixerKind::kMamba, 8).find("its mixer is mamba"), std::string::npos);
  EXPECT_NE(message(MixerKind::kTttMlp, 64).find("no whole window of 64 tokens"), std::string::npos);
}

}  // namespace
}  // namespace ttt
