// What planned runs can tell: errors of the law's parameters before there are losses, against those of fits to draws.
#include "fit/design.h"

#include <gtest/gtest.h>

#include <cmath>

#include "fit/law_fit.h"
#include "fit/synthetic.h"

namespace ttt {
namespace {

std::vector<ScalingPoint> grid(const std::vector<double>& sizes, const std::vector<double>& tokens) {
  std::vector<ScalingPoint> points;
  for (const double n : sizes)
    for (const double d : tokens) points.push_back({n, d, 6 * n * d, 0});
  return points;
}

TEST(Design, ErrorsAreTheSpreadOfFits) {
  std::vector<ScalingPoint> points = grid({1e7, 3e7, 1e8, 3e8, 1e9}, {1e8, 3e8, 1e9, 3e9, 1e10});
  constexpr double kNoise = 0.003;
  const LawErrors expected = *law_errors(points, kSyntheticLaw, kNoise);
  CounterRng rng(5);
  constexpr int kDraws = 200;
  double squares_E = 0, squares_alpha = 0, squares_beta = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    for (ScalingPoint& point : points)
      point.loss = kSyntheticLaw.loss(point.n, point.d) * std::exp(kNoise * normal_draw(rng));
    const ScalingLaw law = LawFitter(points, FitObjective::kLeastSquares).refit({}, kSyntheticLaw).law;
    squares_E += std::pow(law.E - kSyntheticLaw.E, 2) / kDraws;
    squares_alpha += std::pow(law.alpha - kSyntheticLaw.alpha, 2) / kDraws;
    squares_beta += std::pow(law.beta - kSyntheticLaw.beta, 2) / kDraws;
  }
  // Least squares of L, not of log L, whose errors these are: a little more.
  for (const auto& [spread, error] : {std::pair{squares_E, expected.E}, std::pair{squares_alpha, expected.alpha},
                                      std::pair{squares_beta, expected.beta}}) {
    EXPECT_GT(std::sqrt(spread) / error, 0.85);
    EXPECT_LT(std::sqrt(spread) / error, 1.35);
  }
  // They grow with the noise, and fall with the root of the runs.
  EXPECT_NEAR(law_errors(points, kSyntheticLaw, 2 * kNoise)->alpha, 2 * expected.alpha, 1e-9);
  std::vector<ScalingPoint> twice = points;
  twice.insert(twice.end(), points.begin(), points.end());
  EXPECT_NEAR(law_errors(twice, kSyntheticLaw, kNoise)->beta, expected.beta / std::sqrt(2.0), 1e-9);
}

TEST(Design, SaysWhatIsMissing) {
  const auto says = [](const std::vector<ScalingPoint>& points, const std::string& text, double noise = kAssumedNoise) {
    const DesignVerdict verdict = judge_design(points, kPublishedLaw, noise);
    EXPECT_EQ(verdict.identified(), text.empty()) << to_sentence(verdict);
    EXPECT_NE(to_sentence(verdict).find(text.empty() ? "identifies L = E + A/N^alpha + B/D^beta: " : text),
              std::string::npos)
        << to_sentence(verdict);
  };
  const std::vector<double> sizes = {1e6, 3e6, 1e7, 3e7}, tokens = {1e7, 3e7, 1e8, 3e8};
  says(grid(sizes, tokens), "");
  CounterRng rng(1);
  says(ray_points(kPublishedLaw, 8, 20, 0, rng), "all runs have about 20 tokens a parameter");
  IsoflopDesign one;
  one.budgets = 1;
  says(isoflop_points(kPublishedLaw, one, rng),
       "all runs have the same N D, so that N and D cannot be told apart; add");
  says(isoflop_points(kPublishedLaw, IsoflopDesign(), rng), "");
  says(grid({1e6, 3e6}, tokens), "there are two sizes N; three are needed");
  says(grid({1e6}, {1e7, 2e7}), "2 points leave nothing over to judge five parameters by; at least six are needed");
  // Enough of both, but too near to one another, or too noisy.
  says(grid({1e6, 1.1e6, 1.2e6}, tokens), "does not identify L = E + A/N^alpha + B/D^beta: the 90 % interval of alpha");
  says(grid(sizes, tokens), "does not identify", 0.1);
}

}  // namespace
}  // namespace ttt
