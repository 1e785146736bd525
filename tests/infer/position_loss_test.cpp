// Losses by position and the windows that they are read from: buckets, means, intervals; carried states against one
// long window and nothing seen of the future, for every mixer.
#include "infer/position_loss.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>

#include "infer/evaluate.h"
#include "infer/fixture.h"

namespace ttt {
namespace {

constexpr std::int64_t kVocab = 37;
constexpr std::int32_t kBos = 3;

std::vector<MixerPattern> every_mixer() {
  constexpr auto attention = MixerKind::kAttention, linear = MixerKind::kTttLinear, mlp = MixerKind::kTttMlp,
                 mamba = MixerKind::kMamba, deltanet = MixerKind::kGatedDeltaNet;
  return {MixerPattern(attention),    MixerPattern(mamba),
          MixerPattern(linear),       MixerPattern(mlp),
          MixerPattern(deltanet),     MixerPattern({linear, attention}),
          MixerPattern({mamba, mlp}), MixerPattern({deltanet, attention})};
}

class PositionLossTest : public InferTest {
 protected:
  static ModelConfig config_of(const MixerPattern& mixer) {
    ModelConfig config = tiny(MixerKind::kTttLinear);
    config.mixer = mixer;
    config.hidden_size = 32;  // heads of 16: the fused rows
    config.mini_batch_size = 16;
    if (mixer.contains(MixerKind::kTttLinear)) config.backbone = Backbone::kMamba;
    return config;
  }

  // With inner learning rates that matter, and away from the initial values.
  static void stir(LanguageModel& model) {
    torch::manual_seed(5);
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model.parameters()) parameter.add_(0.1 * torch::randn_like(parameter));
  }

  // Every target's loss [windows, T], and the result.
  static std::vector<float> losses(LanguageModel& model, const Dataset& data, const EvalOptions& options,
                                   EvalResult* result = nullptr) {
    std::vector<float> all;
    const EvalResult got = evaluate(model, data, options, [&](const torch::Tensor& loss_BT) {
      const torch::Tensor flat = loss_BT.contiguous();
      all.insert(all.end(), flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel());
    });
    if (result != nullptr) *result = got;
    return all;
  }

  // BOS and so many tokens but BOS, for each.
  static std::vector<std::int32_t> documents(const std::vector<std::size_t>& lengths, std::uint64_t seed) {
    std::vector<std::int32_t> tokens;
    for (const std::size_t length : lengths) {
      tokens.push_back(kBos);
      for (std::int32_t token : random_tokens(length, kVocab, ++seed))
        tokens.push_back(token == kBos ? kBos + 1 : token);
    }
    return tokens;
  }
};

TEST_F(PositionLossTest, BucketsAreLogSpacedAndEndAtPowersOfTwo) {
  EXPECT_EQ(position_bounds(1), (std::vector<std::int64_t>{1}));
  EXPECT_EQ(position_bounds(16), (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16}));
  for (const std::int64_t longest : {2, 3, 100, 2048, 40000}) {
    const std::vector<std::int64_t> bounds = position_bounds(longest);
    EXPECT_TRUE(std::is_sorted(bounds.begin(), bounds.end(), std::less_equal<>())) << longest;
    EXPECT_EQ(bounds.back(), longest);
    for (std::int64_t power = 1; power <= longest; power *= 2)
      EXPECT_TRUE(std::binary_search(bounds.begin(), bounds.end(), power)) << power << " of " << longest;
  }
  EXPECT_LE(position_bounds(1 << 20).size(), 80u);
}

TEST_F(PositionLossTest, MeansAreThoseOfTheTokenLosses) {
  const Dataset data(prepare(documents({30, 7, 55, 19, 90, 12}, 1), kVocab, kBos));
  LanguageModel model(config_of(MixerPattern(MixerKind::kTttLinear)), 5);
  stir(model);
  constexpr std::int64_t kContext = 20;
  EvalOptions options{.context = kContext, .batch = 3};
  options.positions = true;
  EvalResult result;
  const std::vector<float> all = losses(model, data, options, &result);
  const std::vector<std::int32_t> tokens = data.tokens(0, data.num_tokens());
  ASSERT_TRUE(result.positions);
  std::int64_t next = 1, scored = 0;
  for (const PositionLoss& of : result.positions->positions) {
    EXPECT_EQ(of.from, next);
    next = of.to + 1;
    double sum = 0;
    std::int64_t count = 0;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      const std::int64_t position = static_cast<std::int64_t>(i) % kContext + 1;
      if (position < of.from || position > of.to || tokens[i + 1] == kBos) continue;
      sum += all[i];
      ++count;
    }
    ASSERT_GT(count, 0);
    EXPECT_EQ(of.tokens, count);
    EXPECT_NEAR(of.loss, sum / static_cast<double>(count), 1e-9);
    EXPECT_LE(of.low, of.loss);
    EXPECT_LE(of.loss, of.high);
    EXPECT_LT(of.low, of.high);
    scored += count;
  }
  EXPECT_EQ(next, kContext + 1);
  EXPECT_EQ(scored, result.tokens);
  EXPECT_TRUE(result.positions->intervals.over_documents);
  EXPECT_EQ(result.positions->intervals.units, 6);
  // Of documents told apart, a position is the place in the document.
  options.reset_at_documents = true;
  losses(model, data, options, &result);
  EXPECT_EQ(result.positions->positions[0].tokens,
            6 + (data.num_tokens() - 2) / kContext);  // starts of documents, windows
}

// A state that goes on over windows, and windows computed in pieces, against one window of everything.
TEST_F(PositionLossTest, CarriedStateIsOneLongWindow) {
  const Dataset data(prepare(random_tokens(150, kVocab, 2), kVocab));  // one document
  for (const MixerPattern& mixer : every_mixer()) {
    LanguageModel model(config_of(mixer), 5);
    stir(model);
    const std::vector<float> whole = losses(model, data, {.context = 149});
    EvalOptions carried{.context = 23};
    carried.carry_state = true;
    EvalOptions pieces{.context = 149};
    pieces.piece = 31;
    EvalOptions both = carried;
    both.piece = 6;
    for (const EvalOptions& options : {carried, pieces, both}) {
      const std::vector<float> got = losses(model, data, options);
      ASSERT_GE(got.size(), 149u);
      for (std::size_t i = 0; i < 149; ++i) ASSERT_NEAR(got[i], whole[i], 1e-5) << to_string(mixer) << " target " << i;
    }
    // The state matters: windows that start fresh are not the same.
    EXPECT_GT(std::abs(losses(model, data, {.context = 23})[100] - whole[100]), 1e-4) << to_string(mixer);
    // Several windows at once, in pieces.
    EvalOptions rows{.context = 50, .batch = 2};
    const std::vector<float> at_once = losses(model, data, rows);
    rows.piece = 16;
    const std::vector<float> cut = losses(model, data, rows);
    for (std::size_t i = 0; i < 149; ++i) ASSERT_NEAR(cut[i], at_once[i], 1e-5) << to_string(mixer) << " target " << i;
  }
}

TEST_F(PositionLossTest, TheFutureDoesNotChangeThePast) {
  std::vector<std::int32_t> tokens = random_tokens(97, kVocab, 4);
  const Dataset data(prepare(tokens, kVocab));
  constexpr std::ptrdiff_t kFrom = 41;
  std::rotate(tokens.begin() + kFrom, tokens.begin() + kFrom + 17, tokens.end());
  ASSERT_NE(tokens[kFrom], data.tokens(kFrom, 1)[0]);
  const Dataset permuted(prepare(tokens, kVocab));
  for (const MixerPattern& mixer : every_mixer()) {
    LanguageModel model(config_of(mixer), 5);
    stir(model);
    EvalOptions whole{.context = 96}, pieces{.context = 96}, carried{.context = 32}, sliding{.context = 32};
    pieces.piece = 20;
    carried.carry_state = true;
    sliding.stride = 8;
    for (const EvalOptions& options : {whole, pieces, carried}) {
      const std::vector<float> a = losses(model, data, options), b = losses(model, permuted, options);
      for (std::size_t i = 0; i + 1 < static_cast<std::size_t>(kFrom); ++i)
        ASSERT_EQ(a[i], b[i]) << to_string(mixer) << " target " << i;
      EXPECT_NE(a[kFrom + 3], b[kFrom + 3]);
    }
    const std::vector<float> a = losses(model, data, sliding), b = losses(model, permuted, sliding);
    ASSERT_EQ(a.size() % 32, 0u);
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (i / 32 * 8 + i % 32 + 1 < static_cast<std::size_t>(kFrom)) {
        ASSERT_EQ(a[i], b[i]) << to_string(mixer) << " place " << i;
      }
    }
  }
}

TEST_F(PositionLossTest, WindowsOfDocuments) {
  // Documents of 11, 31, 6 and 21 tokens with their BOS.
  const Dataset data(prepare(documents({10, 30, 5, 20}, 9), kVocab, kBos));
  const auto list = [&](WindowOptions options) {
    options.context = 10;
    const EvalWindows windows(data, options);
    std::vector<std::vector<std::int64_t>> all;
    for (std::int64_t i = 0; i < windows.size(); ++i) {
      const EvalWindow w = windows[i];
      all.push_back({w.begin, w.length, w.skip, w.position, w.continues});
    }
    EXPECT_EQ(windows.longest(), [&] {
      std::int64_t longest = 0;
      for (const auto& w : all) longest = std::max(longest, w[3] + w[1]);
      return longest;
    }());
    return all;
  };
  using List = std::vector<std::vector<std::int64_t>>;
  EXPECT_EQ(list({}), (List{{0, 10, 0, 0, 0},
                            {10, 10, 0, 0, 0},
                            {20, 10, 0, 0, 0},
                            {30, 10, 0, 0, 0},
                            {40, 10, 0, 0, 0},
                            {50, 10, 0, 0, 0},
                            {60, 8, 0, 0, 0}}));
  EXPECT_EQ(list({.max_windows = 2}).size(), 2u);
  EXPECT_EQ(list({.documents = true}), (List{{0, 10, 0, 0, 0},
                                             {11, 10, 0, 0, 0},
                                             {21, 10, 0, 0, 0},
                                             {31, 10, 0, 0, 0},
                                             {48, 10, 0, 0, 0},
                                             {58, 10, 0, 0, 0}}));
  EXPECT_EQ(list({.documents = true, .carry_state = true}), (List{{0, 10, 0, 0, 0},
                                                                  {11, 10, 0, 0, 0},
                                                                  {21, 10, 0, 10, 1},
                                                                  {31, 10, 0, 20, 1},
                                                                  {48, 10, 0, 0, 0},
                                                                  {58, 10, 0, 10, 1}}));
  EXPECT_EQ(list({.carry_state = true}), (List{{0, 10, 0, 0, 0},
                                               {10, 1, 0, 10, 1},
                                               {11, 10, 0, 0, 0},
                                               {21, 10, 0, 10, 1},
                                               {31, 10, 0, 20, 1},
                                               {41, 1, 0, 30, 1},
                                               {42, 6, 0, 0, 0},
                                               {48, 10, 0, 0, 0},
                                               {58, 10, 0, 10, 1}}));
  EXPECT_EQ(list({.stride = 4}), (List{{0, 10, 0, 0, 0},
                                       {4, 7, 6, 4, 0},
                                       {11, 10, 0, 0, 0},
                                       {15, 10, 6, 4, 0},
                                       {19, 10, 6, 8, 0},
                                       {23, 10, 6, 12, 0},
                                       {27, 10, 6, 16, 0},
                                       {31, 10, 6, 20, 0},
                                       {35, 7, 6, 24, 0},
                                       {42, 6, 0, 0, 0},
                                       {48, 10, 0, 0, 0},
                                       {52, 10, 6, 4, 0},
                                       {56, 10, 6, 8, 0},
                                       {60, 8, 6, 12, 0}}));
  EXPECT_EQ(list({.samples = true}), (List{{0, 10, 0, 0, 0}, {11, 30, 0, 0, 0}, {42, 5, 0, 0, 0}, {48, 20, 0, 0, 0}}));
  EXPECT_THROW(EvalWindows(data, {.context = 31, .documents = true}), UserError);
  EXPECT_EQ(EvalWindows(data, {.context = 30, .documents = true}).size(), 1);
}

// Sliding windows score every target once, each with at least context - stride tokens before it.
TEST_F(PositionLossTest, SlidingWindowsScoreEveryTargetOnce) {
  const std::vector<std::int32_t> tokens = random_tokens(64, kVocab, 6);
  const Dataset data(prepare(tokens, kVocab));
  LanguageModel model(config_of(MixerPattern(MixerKind::kAttention)), 5);
  stir(model);
  EvalOptions sliding{.context = 24, .batch = 2};
  sliding.stride = 7;
  sliding.positions = true;
  EvalResult result;
  const std::vector<float> got = losses(model, data, sliding, &result);
  EXPECT_EQ(result.tokens, 63);
  EXPECT_EQ(result.positions->positions.back().to, 63);
  EXPECT_FALSE(result.positions->intervals.over_documents);
  std::size_t windows = got.size() / 24, scored = 0;
  for (std::size_t w = 0; w < windows; ++w) {
    const std::size_t begin = w * 7, length = std::min<std::size_t>(24, 63 - begin);
    std::vector<std::int32_t> part(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                                   tokens.begin() + static_cast<std::ptrdiff_t>(begin + length + 1));
    const Dataset alone(prepare(part, kVocab));
    const std::vector<float> expected = losses(model, alone, {.context = static_cast<std::int64_t>(length)});
    for (std::size_t t = 0; t < 24; ++t) {
      const bool counts = t < length && (w == 0 || t >= 17);
      scored += counts;
      EXPECT_NEAR(got[w * 24 + t], counts ? expected[t] : 0, 1e-5) << w << " " << t;
    }
  }
  EXPECT_EQ(scored, 63u);
  sliding.stride = 24;  // no overlap: the plain windows
  EXPECT_EQ(losses(model, data, sliding), losses(model, data, {.context = 24, .batch = 2}));
}

TEST_F(PositionLossTest, IntervalsComeFromResampledDocuments) {
  std::vector<std::int64_t> offsets;
  for (std::int64_t i = 0; i <= 400; ++i) offsets.push_back(2 * i);
  PositionSums sums(2, offsets);
  for (std::int64_t i = 0; i < 400; ++i) {
    sums.add(2 * i, 0, 1, i % 2 == 0 ? 0.0 : 1.0, 0);
    sums.add(2 * i + 1, 0, 2, 0.25, 3);
  }
  const PositionLosses losses = sums.result(7);
  ASSERT_EQ(losses.positions.size(), 2u);
  const PositionLoss& varied = losses.positions[0];
  EXPECT_EQ(varied.loss, 0.5);
  // A mean of 400 values of deviation 1/2: 1.96 / 40 on either side.
  EXPECT_NEAR(varied.low, 0.5 - 0.049, 0.006);
  EXPECT_NEAR(varied.high, 0.5 + 0.049, 0.006);
  EXPECT_TRUE(std::isnan(varied.bits_per_byte));
  EXPECT_EQ(losses.positions[1].low, 0.25);
  EXPECT_EQ(losses.positions[1].high, 0.25);
  EXPECT_NEAR(losses.positions[1].bits_per_byte, 0.25 / std::log(2.0) / 3, 1e-12);
  EXPECT_EQ(losses.intervals.units, 400);
  EXPECT_EQ(sums.result(7).positions[0].low, varied.low);
  bool differs = false;
  for (std::uint64_t seed = 8; seed < 12; ++seed) differs = differs || sums.result(seed).positions[0].low != varied.low;
  EXPECT_TRUE(differs);
}

// Tokens of one document are resampled together: 20 documents of 50 equal tokens are 20 values, not 1000.
TEST_F(PositionLossTest, DocumentsAreResampledWhole) {
  std::vector<std::int64_t> offsets;
  for (std::int64_t i = 0; i <= 20; ++i) offsets.push_back(50 * i);
  PositionSums by_document(1, offsets), by_window(1, {0, 1000});
  for (std::int64_t place = 0; place < 1000; ++place) {
    const double nats = place / 50 % 2 == 0 ? 0.0 : 1.0;
    by_document.add(place, place, 1, nats, 0);
    by_window.add(place, place, 1, nats, 0);
  }
  const PositionLosses documents = by_document.result(0), windows = by_window.result(0);
  EXPECT_EQ(documents.intervals.units, 20);
  EXPECT_EQ(windows.intervals.units, 1000);
  EXPECT_FALSE(windows.intervals.over_documents);
  const double wide = documents.positions[0].high - documents.positions[0].low,
               narrow = windows.positions[0].high - windows.positions[0].low;
  EXPECT_NEAR(wide / narrow, std::sqrt(50.0), 1.0);
}

// Positions that no scored target has are there all the same.
TEST_F(PositionLossTest, EmptyBucketsHaveNoLoss) {
  PositionSums sums(8, {0, 8});
  sums.add(4, 0, 5, 1.5, 0);
  const PositionLosses losses = sums.result(0);
  ASSERT_EQ(losses.positions.size(), 8u);
  EXPECT_EQ(to_json(losses.positions)[0].dump(),
            R"({"from":1,"to":1,"loss":null,"low":null,"high":null,"bits_per_byte":null,"units":0,"tokens":0})");
  EXPECT_EQ(losses.positions[4].loss, 1.5);
  EXPECT_EQ(losses.positions[4].low, 1.5);
  EXPECT_EQ(losses.positions[4].high, 1.5);
  EXPECT_EQ(losses.positions[4].units, 1);
  EXPECT_NE(to_text(losses).find("5     1.500000                -"), std::string::npos) << to_text(losses);
}

// What one window alone reaches has no interval, and says so.
TEST_F(PositionLossTest, UnitsAreCountedForEachBucket) {
  PositionSums sums(4, {0, 100});
  for (std::int64_t position = 1; position <= 4; ++position) sums.add(position, 0, position, 1.0, 0);
  for (std::int64_t position = 1; position <= 2; ++position) sums.add(10 + position, 1, position, 3.0, 0);
  const PositionLosses losses = sums.result(0);
  std::vector<std::int64_t> units;
  for (const PositionLoss& of : losses.positions) units.push_back(of.units);
  EXPECT_EQ(units, (std::vector<std::int64_t>{2, 2, 1, 1}));
  EXPECT_LT(losses.positions[0].low, losses.positions[0].high);
}

// Several processes, each with its part: the same bits as one alone.
TEST_F(PositionLossTest, SharesMakeTheSameLosses) {
  const Dataset data(prepare(documents({30, 7, 55, 19}, 1), kVocab, kBos));
  LanguageModel model(config_of(MixerPattern(MixerKind::kMamba)), 5);
  EvalOptions options{.context = 10, .batch = 2};
  options.positions = true;
  const EvalResult alone = evaluate(model, data, options);
  std::vector<std::string> parts(3);
  for (std::int64_t rank = 0; rank < 3; ++rank) {
    EvalOptions own = options;
    own.share = {rank, 3, {}, [&](const std::string& collected) {
                   parts[static_cast<std::size_t>(rank)] = collected;
                   return std::vector<std::string>{};
                 }};
    evaluate(model, data, own);
  }
  EvalOptions last = options;
  last.share = {2, 3, {}, [&](const std::string&) { return parts; }};
  const EvalResult together = evaluate(model, data, last);
  ASSERT_EQ(together.positions->positions.size(), alone.positions->positions.size());
  for (std::size_t i = 0; i < alone.positions->positions.size(); ++i) {
    const PositionLoss &a = alone.positions->positions[i], &b = together.positions->positions[i];
    EXPECT_EQ(a.loss, b.loss);
    EXPECT_EQ(a.low, b.low);
    EXPECT_EQ(a.high, b.high);
    EXPECT_EQ(a.tokens, b.tokens);
  }
}

}  // namespace
}  // namespace ttt
