// Approach 3: laws that are known are found again, published fits are reproduced, and what cannot be identified is
// said.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "fit/law_study.h"
#include "fit/report.h"
#include "fit/synthetic.h"

namespace ttt {
namespace {

constexpr FitObjective kBoth[] = {FitObjective::kHuber, FitObjective::kLeastSquares};

FitSettings quick(FitObjective objective = FitObjective::kLeastSquares, int samples = 50) {
  return {.objective = objective, .bootstrap = samples, .threads = 2};
}

std::vector<ScalingPoint> points_of(const IsoflopDesign& design, const ScalingLaw& law = kSyntheticLaw) {
  CounterRng rng(7);
  return isoflop_points(law, design, rng);
}

std::string reasons_of(const LawStudy& study) {
  std::string text;
  for (const std::string& reason : study.reasons) text += reason + "\n";
  return text;
}

TEST(ScalingLawTest, ComputeOptimalIsTheLowestOfItsBudget) {
  const ScalingLaw law = kSyntheticLaw;
  for (const double c : {1e15, 1e20, 1e24}) {
    const Allocation best = compute_optimal(law, c, 7);
    EXPECT_NEAR(7 * best.n * best.d / c, 1, 1e-12);
    for (const double factor : {0.97, 1.03}) EXPECT_GT(law.loss(best.n * factor, best.d / factor), best.loss);
    EXPECT_NEAR(flops_to_reach(law, best.loss, 7) / c, 1, 1e-9);
  }
  EXPECT_TRUE(std::isinf(flops_to_reach(law, law.E)));
  const double low = compute_optimal(law, 1e20).n, high = compute_optimal(law, 1e22).n;
  EXPECT_NEAR(std::log(high / low) / std::log(100.0), law.n_exponent(), 1e-12);
}

TEST(LawFitTest, ExactLosses) {
  for (const FitObjective objective : kBoth) {
    const LawStudy study = study_law("", points_of({}), quick(objective, 0));
    ASSERT_TRUE(study.identified()) << reasons_of(study);
    EXPECT_NEAR(study.fit.law.E / kSyntheticLaw.E, 1, 2e-5);
    EXPECT_NEAR(study.fit.law.alpha / kSyntheticLaw.alpha, 1, 1e-4);
    EXPECT_NEAR(study.fit.law.beta / kSyntheticLaw.beta, 1, 1e-4);
    EXPECT_NEAR(study.fit.law.A / kSyntheticLaw.A, 1, 1e-3);
    EXPECT_NEAR(study.fit.law.B / kSyntheticLaw.B, 1, 1e-3);
    EXPECT_LT(study.residual_rms, 1e-6);
  }
}

// The law may be far from language models' losses: bits, other sizes, other exponents.
TEST(LawFitTest, OtherLaws) {
  for (const FitObjective objective : kBoth) {
    for (const ScalingLaw& law : {ScalingLaw{0.3, 40, 9, 0.6, 0.25}, ScalingLaw{12, 3e4, 2e3, 0.5, 0.4}}) {
      const LawStudy study = study_law(
          "", points_of({.low = 1e13, .high = 1e16, .span = 8, .shift = 1, .noise = 0}, law), quick(objective, 0));
      ASSERT_TRUE(study.identified()) << reasons_of(study);
      EXPECT_NEAR(study.fit.law.E / law.E, 1, 2e-3);
      EXPECT_NEAR(study.fit.law.alpha / law.alpha, 1, 2e-3);
      EXPECT_NEAR(study.fit.law.beta / law.beta, 1, 2e-3);
    }
  }
}

// Besiroglu et al. 2024 (arXiv 2404.10102), the replication: points read off Hoffmann et al.'s figure 4.
TEST(LawFitTest, PublishedHuberFit) {
  PointSet set = read_points({TTT_SOURCE_DIR "/tests/golden/scaling_chinchilla.csv"},
                             {.n = "Model Size", .c = "Training FLOP", .loss = "loss"});
  ASSERT_EQ(set.points.size(), 245u);
  drop_highest(set, 5);
  const LawFitter fitter(set.points, FitObjective::kHuber, 2);
  const LawFit fit = fitter.fit();
  EXPECT_NEAR(fit.objective / 1.0182740e-3, 1, 1e-6);
  EXPECT_NEAR(fit.law.E, 1.81724, 1e-4);
  EXPECT_NEAR(fit.law.alpha, 0.34731, 3e-5);
  EXPECT_NEAR(fit.law.beta, 0.36718, 3e-5);
  EXPECT_NEAR(fit.law.A / 477.84, 1, 1e-3);
  EXPECT_NEAR(fit.law.B / 2143.9, 1, 1e-3);
  EXPECT_NEAR(fitter.objective(fit.law) / fit.objective, 1, 1e-9);
}

// Points read off figure 2 of the Llama 3 report (arXiv 2407.21783).
TEST(LawFitTest, PublishedLeastSquaresFit) {
  const PointSet set =
      read_points({TTT_SOURCE_DIR "/tests/golden/scaling_llama3.csv"}, {.n = "params", .d = "tokens", .loss = "loss"});
  const LawFitter fitter(set.points, FitObjective::kLeastSquares, 2);
  const LawFit fit = fitter.fit();
  EXPECT_NEAR(fit.objective / 2.01972e-3, 1, 1e-5);
  EXPECT_NEAR(fit.law.E / 0.604670, 1, 1e-5);
  EXPECT_NEAR(fit.law.alpha / 0.310006, 1, 1e-5);
  EXPECT_NEAR(fit.law.beta / 0.313643, 1, 1e-5);
  EXPECT_NEAR(fit.law.A / 59.141, 1, 1e-4);
  EXPECT_NEAR(fit.law.B / 155.114, 1, 1e-4);
  EXPECT_NEAR(fitter.objective(fit.law) / fit.objective, 1, 1e-9);
}

TEST(LawFitTest, TheSameOnAnyNumberOfThreads) {
  const auto points = points_of({.budgets = 4, .sizes = 5, .noise = 0.002});
  for (const FitObjective objective : kBoth) {
    FitSettings settings = quick(objective, 20);
    settings.threads = 1;
    const LawStudy one = study_law("x", points, settings);
    settings.threads = 3;
    const LawStudy three = study_law("x", points, settings);
    EXPECT_EQ(one.fit.law.alpha, three.fit.law.alpha);
    ASSERT_EQ(one.samples.size(), three.samples.size());
    for (std::size_t i = 0; i < one.samples.size(); ++i) EXPECT_EQ(one.samples[i].E, three.samples[i].E);
  }
}

// What bootstrap fits from near the minimum miss would make intervals too narrow: they reach what all starts reach.
TEST(LawFitTest, WarmStartsReachTheMinimum) {
  const auto points = points_of({.noise = 0.005});
  for (const FitObjective objective : kBoth) {
    const LawFit fit = LawFitter(points, objective, 2).fit();
    for (int sample = 0; sample < 3; ++sample) {
      const auto weights = bootstrap_weights(std::vector<int>(points.size(), 0), 3, sample);
      std::vector<ScalingPoint> drawn;
      for (std::size_t i = 0; i < points.size(); ++i)
        for (int k = 0; k < static_cast<int>(weights[i]); ++k) drawn.push_back(points[i]);
      const double all_starts = LawFitter(drawn, objective, 2).fit().objective;
      EXPECT_LT(LawFitter(points, objective).refit(weights, fit.law).objective, all_starts * (1 + 1e-4));
    }
  }
}

TEST(Identification, OneRayIsNotEnough) {
  CounterRng rng(1);
  for (const double noise : {0.0, 0.003}) {
    for (const FitObjective objective : kBoth) {
      const LawStudy study = study_law("", ray_points(kSyntheticLaw, 8, 20, noise, rng), quick(objective));
      EXPECT_FALSE(study.identified());
      EXPECT_NE(reasons_of(study).find("all runs have about 20 tokens a parameter"), std::string::npos)
          << reasons_of(study);
      const Json json = laws_json({study}, {});
      EXPECT_TRUE(json["alpha"].is_null() && json["E"].is_null() && json["identified"] == false);
      EXPECT_NE(laws_text({study}, {}).find("not identified"), std::string::npos);
      EXPECT_EQ(laws_text({study}, {}).find("alpha   "), std::string::npos);
    }
  }
}

TEST(Identification, DesignsThatLackSomething) {
  const auto reasons = [](const IsoflopDesign& design) {
    return reasons_of(study_law("", points_of(design), quick()));
  };
  EXPECT_NE(reasons({.budgets = 1, .sizes = 9}).find("all runs have the same N D"), std::string::npos);
  auto points = points_of({});
  for (ScalingPoint& point : points) point.n = point.n < 1e9 ? 1e8 : 4e9;
  EXPECT_NE(reasons_of(study_law("", points, quick())).find("there are two sizes N"), std::string::npos);
  points = points_of({.budgets = 1, .sizes = 5});
  EXPECT_NE(reasons_of(study_law("", points, quick())).find("5 points leave nothing over"), std::string::npos);
  EXPECT_EQ(reasons({}), "");
}

TEST(Identification, NoiseThatHidesTheLaw) {
  // A narrow design under much noise: the exponents could be anything.
  const LawStudy study = study_law(
      "", points_of({.budgets = 3, .sizes = 4, .low = 1e19, .high = 4e19, .span = 2, .noise = 0.03}), quick());
  EXPECT_FALSE(study.identified());
  // No floor in sight: all losses far above E.
  const LawStudy high =
      study_law("", points_of({.low = 1e8, .high = 1e10, .noise = 0.02}, {0, 480, 2100, 0.3, 0.3}), quick());
  EXPECT_FALSE(high.identified());
}

TEST(Identification, NothingIsSaidFarBeyondTheRuns) {
  const LawStudy study = study_law("", points_of({}), quick());
  EXPECT_NO_THROW(optimum_within_reach(study, 9.9e21));
  EXPECT_THROW(optimum_within_reach(study, 1.1e22), UserError);
  EXPECT_THROW(optimum_within_reach(study, 0.9e17), UserError);
  ReportContext context;
  context.budgets = {1e23};
  EXPECT_THROW(laws_text({study}, context), UserError);
  EXPECT_THROW(laws_json({study}, context), UserError);
}

TEST(FlopMultipliers, ArchitecturesThatCostMore) {
  // The same losses at the same N and D, at twice the FLOPs: half the efficiency, at every loss.
  const auto base = points_of({.noise = 0.001});
  auto dear = base;
  for (ScalingPoint& point : dear) point.c *= 2;
  const LawStudy a = study_law("a", base, quick()), b = study_law("b", dear, quick());
  EXPECT_NEAR(b.flops_per_parameter_token, 12, 1e-9);
  const auto multipliers = flop_multipliers(a, b);
  ASSERT_EQ(multipliers.size(), 3u);
  for (const FlopMultiplier& at : multipliers) {
    EXPECT_NEAR(at.multiplier, 0.5, 1e-9);
    ASSERT_TRUE(at.interval);
    EXPECT_LT(at.interval->low, 0.5);
    EXPECT_GT(at.interval->high, 0.5);
    EXPECT_LT(at.interval->high - at.interval->low, 0.3);
  }
  ReportContext context;
  const Json json = laws_json({a, b}, context);
  EXPECT_EQ(json["groups"].size(), 2u);
  EXPECT_EQ(json["flop_multipliers"].size(), 3u);
  context.baseline = "b";
  EXPECT_NEAR(laws_json({a, b}, context)["flop_multipliers"][0]["multiplier"].get<double>(), 2, 1e-9);
  context.baseline = "c";
  EXPECT_THROW(laws_json({a, b}, context), UserError);
}

TEST(Bootstrap, WeightsAndIntervals) {
  const std::vector<int> strata = {0, 0, 0, 1, 1, 2};
  const auto weights = bootstrap_weights(strata, 5, 9);
  EXPECT_EQ(weights, bootstrap_weights(strata, 5, 9));
  EXPECT_EQ(weights[0] + weights[1] + weights[2], 3);
  EXPECT_EQ(weights[3] + weights[4], 2);
  EXPECT_EQ(weights[5], 1);
  double first = 0;
  for (int i = 0; i < 2000; ++i) first += bootstrap_weights(strata, 5, i)[0];
  EXPECT_NEAR(first / 2000, 1, 0.06);

  EXPECT_EQ(quantile({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(quantile({0, 10, NAN}, 0.25), 2.5);
  EXPECT_TRUE(std::isinf(quantile({INFINITY, INFINITY, 1}, 0.75)));
  EXPECT_EQ(quantile({1, 2, INFINITY}, 0.5), 2);
  EXPECT_EQ(quantile({1, 2, INFINITY}, 0.75), INFINITY);
  EXPECT_TRUE(std::isnan(quantile({}, 0.5)));
  // t(19 degrees, 0.975) = 2.0930, times sqrt(20 / 19): z = 2.1474
  EXPECT_NEAR(expanded_level(0.95, 20, 1), 0.96824, 1e-4);
  EXPECT_NEAR(expanded_level(0.9, 100000, 5), 0.9, 1e-4);
  EXPECT_EQ(expanded_level(0.9, 5, 5), 1);
}

}  // namespace
}  // namespace ttt
