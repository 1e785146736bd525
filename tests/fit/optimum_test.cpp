// Approaches 1 and 2, and what is said where a design biases them; the figures of all three.
#include "fit/optimum.h"

#include <gtest/gtest.h>

#include "fit/figure.h"
#include "fit/report.h"
#include "fit/synthetic.h"

namespace ttt {
namespace {

FitSettings few(int samples = 30) {
  return {.objective = FitObjective::kLeastSquares, .bootstrap = samples, .threads = 2};
}

OptimumStudy isoflop(const IsoflopDesign& design) {
  CounterRng rng(3);
  return study_isoflop("", isoflop_points(kSyntheticLaw, design, rng), few());
}

std::string text_of(const std::vector<std::string>& sentences) {
  std::string text;
  for (const std::string& sentence : sentences) text += sentence + "\n";
  return text;
}

TEST(Isoflop, CentredGridsFindTheExponent) {
  const OptimumStudy study = isoflop({});
  ASSERT_TRUE(study.identified());
  EXPECT_EQ(study.curves.size(), 7u);
  EXPECT_NEAR(study.n.exponent, kSyntheticLaw.n_exponent(), 0.003);
  EXPECT_NEAR(study.n.exponent + study.d.exponent, 1, 1e-9);
  EXPECT_EQ(text_of(study.warnings), "");
  ASSERT_TRUE(study.bias);
  EXPECT_NEAR(study.bias->law_exponent, kSyntheticLaw.n_exponent(), 1e-4);
}

TEST(Isoflop, OffCentreGridsAreFlagged) {
  const OptimumStudy study = isoflop({.shift = 2.5});
  EXPECT_NE(text_of(study.warnings).find("off centre: at 7 of 7 budgets"), std::string::npos)
      << text_of(study.warnings);
  EXPECT_NE(optima_text({study}, {}).find("warning: off centre"), std::string::npos);
  // The middle wanders with the budget: the exponent is wrong, and by how much is said.
  const OptimumStudy drifting = isoflop({.shift = 2, .drift = 0.1});
  EXPECT_NE(text_of(drifting.warnings).find("drift:"), std::string::npos) << text_of(drifting.warnings);
  ASSERT_TRUE(drifting.bias);
  EXPECT_NEAR(drifting.bias->found_exponent, drifting.n.exponent, 1e-6);
  EXPECT_GT(drifting.bias->found_exponent - drifting.bias->law_exponent, 0.005);
  EXPECT_NEAR(drifting.bias->law_exponent, kSyntheticLaw.n_exponent(), 1e-4);
  EXPECT_NE(text_of(drifting.warnings).find("biased:"), std::string::npos) << text_of(drifting.warnings);
}

TEST(Isoflop, MinimaOutsideTheGridTakeNoPart) {
  const OptimumStudy study = isoflop({.span = 3, .shift = 8});
  EXPECT_FALSE(study.identified());
  EXPECT_NE(text_of(study.reasons).find("0 budgets have a lowest point among its sizes"), std::string::npos)
      << text_of(study.reasons);
  EXPECT_EQ(study.curves[0].dropped, "the lowest point is outside the sizes that were trained");
  EXPECT_TRUE(optima_json({study}, {})["n_exponent"].is_null());
  EXPECT_FALSE(isoflop({.budgets = 2}).identified());
  EXPECT_FALSE(isoflop({.sizes = 3}).identified());
}

TEST(Envelope, OfManySizesFindsTheExponent) {
  // Every size at many lengths: what training curves are.
  std::vector<ScalingPoint> points;
  for (int s = 0; s < 25; ++s) {
    for (int t = 0; t < 60; ++t) {
      ScalingPoint point;
      point.n = 1e7 * std::pow(1e3, s / 24.0);
      point.d = 1e8 * std::pow(1e4, t / 59.0);
      point.c = 6 * point.n * point.d;
      point.loss = kSyntheticLaw.loss(point.n, point.d);
      points.push_back(point);
    }
  }
  const OptimumStudy study = study_envelope("", points, few(10));
  ASSERT_TRUE(study.identified()) << text_of(study.reasons);
  EXPECT_NEAR(study.n.exponent, kSyntheticLaw.n_exponent(), 0.03);
  for (std::size_t i = 1; i < study.envelope.size(); ++i)
    EXPECT_LT(study.envelope[i].point.loss, study.envelope[i - 1].point.loss);
  EXPECT_FALSE(study_envelope("", {points.begin(), points.begin() + 60}, few()).identified());
}

TEST(Figures, EveryApproachHasOne) {
  CounterRng rng(3);
  const auto points = isoflop_points(kSyntheticLaw, {.noise = 0.002}, rng);
  const LawStudy law = study_law("a", points, few()),
                 ray = study_law("ray", ray_points(kSyntheticLaw, 8, 20, 0, rng), few());
  const std::string svg = to_svg(law_figure({law, ray}));
  EXPECT_NE(svg.find("Residuals by parameters"), std::string::npos);
  EXPECT_NE(svg.find("ray, not identified"), std::string::npos);
  EXPECT_NE(to_svg(optimum_figure({study_isoflop("", points, few())})).find("lowest points"), std::string::npos);
  EXPECT_NE(to_svg(optimum_figure({study_envelope("", points, few())})).find("the envelope"), std::string::npos);
}

}  // namespace
}  // namespace ttt
