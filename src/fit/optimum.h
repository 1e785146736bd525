// Approaches 1 and 2 of Hoffmann et al. 2022 (arXiv 2203.15556, sections 3.1 and 3.2): the best N and D for a budget C
// straight from the points, and how they grow with C. Neither gives a law of the loss.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fit/law_study.h"

namespace ttt {

// value = coefficient * C^exponent
struct PowerLaw {
  double log_coefficient = 0, exponent = 0;
  double at(double c) const;
};

// The points of one budget and the parabola through their losses.
struct IsoflopCurve {
  double c = 0;  // FLOPs, the geometric mean of its points
  std::vector<ScalingPoint> points;
  // L = constant + slope x + curvature x^2, x = log N - log(middle); middle: of the sizes in log N
  double constant = 0, slope = 0, curvature = 0, middle = 0;
  Allocation best;              // at the parabola's lowest point
  double offset = 0;            // of that from the middle of the sizes, in halves of their span: +-1 is an end
  std::string dropped = {};     // why it takes no part in the power laws; empty: it does
  double loss(double n) const;  // the parabola
};

struct EnvelopePoint {
  ScalingPoint point;
  bool at_edge = false;  // its N is the smallest or largest of all: the best one may lie beyond, and it takes no part
};

struct OptimumStudy {
  std::string name;
  std::vector<ScalingPoint> points;
  std::vector<IsoflopCurve> curves;     // approach 2
  std::vector<EnvelopePoint> envelope;  // approach 1
  PowerLaw n, d;                        // of the optimum, by budget
  std::vector<PowerLaw> n_samples, d_samples;
  double level = 0.9;
  std::vector<std::string> reasons;   // why there are no power laws; empty: there are
  std::vector<std::string> warnings;  // what makes them biased
  // Where approach 3 identifies a law from the same points: its exponent of N, and the one that this approach finds in
  // that law's own losses, without noise, at the same N and D. Their difference is this design's bias.
  struct Bias {
    double law_exponent = 0, found_exponent = 0;
    double n_ratio = 1;  // the best N that it finds over the law's, at the middle of the budgets
  };
  std::optional<Bias> bias;

  bool identified() const { return reasons.empty(); }
  std::optional<Interval> interval(double PowerLaw::*value) const;  // of N's
  std::optional<Interval> interval_at(bool of_n, double c) const;
};

// Approach 1: of all points those that no point with as few FLOPs undercuts, one in a tenth of a decade of C. Points
// are whatever was given: the last ones of runs, or along their curves; points before the learning rate has come down
// lie too high.
OptimumStudy study_envelope(const std::string& name, const std::vector<ScalingPoint>& points,
                            const FitSettings& settings);

// Approach 2: points whose C agree within 15 % are one budget, of at least four sizes. A budget takes no part where the
// parabola opens downwards or its lowest point is outside the sizes. Warned of: lowest points further than 0.25 from
// the middle of the sizes, and middles that drift along the budgets by more than that.
OptimumStudy study_isoflop(const std::string& name, const std::vector<ScalingPoint>& points,
                           const FitSettings& settings);

}  // namespace ttt
