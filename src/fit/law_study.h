// Approach 3 for one architecture: the fitted law, its bootstrap intervals, and whether the data can identify it at
// all.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "fit/bootstrap.h"
#include "fit/law_fit.h"

namespace ttt {

struct FitSettings {
  FitObjective objective = FitObjective::kHuber;
  int bootstrap = 1000;  // samples; 0: no intervals
  std::uint64_t seed = 1;
  double level = 0.9;  // of intervals
  int threads = 1;
};

struct LawStudy {
  std::string name;
  std::vector<ScalingPoint> points;
  LawFit fit;
  double flops_per_parameter_token = 6;
  double condition = 0;              // law_condition()
  std::vector<ScalingLaw> samples;   // fitted to bootstrap samples of the points
  double level = 0.9;                // of intervals
  double percentile_level = 0.9;     // of samples, for that
  std::vector<std::string> reasons;  // why the data do not identify the law; empty: they do
  double residual_rms = 0;           // of log L
  std::size_t largest_residual = 0;  // the point with the largest
  std::vector<double> residuals;     // log L observed - fitted, of each point

  bool identified() const { return reasons.empty(); }
  // Of anything that follows from the law; nothing without samples.
  std::optional<Interval> interval(const std::function<double(const ScalingLaw&)>& value) const;
};

// Five parameters need more points than that; with fewer the study has a reason and no fit.
// Not identified, decided by the design: fewer than three different N or D (5 % apart); N and D of all points on one
// line of the log-log plane (such as a constant number of tokens a parameter, or one budget), to a thirtieth of its
// length; a condition of the Jacobian beyond 1e5. By the data: E, A or B zero at the minimum; an interval of alpha or
// beta whose ends differ by more than a factor of four; one of E that is wider than half the lowest loss.
LawStudy study_law(const std::string& name, const std::vector<ScalingPoint>& points, const FitSettings& settings);

// No law is asked about what is more than ten times beyond the points it was fitted to. Throws UserError with one
// sentence for FLOPs outside [lowest C / 10, 10 x highest C], and where N or D of the optimum are so far outside.
constexpr double kFarthest = 10;
Allocation optimum_within_reach(const LawStudy& study, double flops);
std::optional<std::string> beyond_reach(const LawStudy& study, double flops);  // that sentence, or nothing

// How many times fewer FLOPs than `base` an architecture needs to reach a loss, both trained compute-optimally.
struct FlopMultiplier {
  double loss = 0;
  double base_flops = 0, flops = 0;
  double multiplier = 0;  // base_flops / flops: above 1 where the architecture needs fewer
  std::optional<Interval> interval;
};
// Both identified. At the losses that `base` reaches at the least, the middle and the highest of the budgets that both
// have runs at (ten times beyond at most); none where there are no such budgets.
std::vector<FlopMultiplier> flop_multipliers(const LawStudy& base, const LawStudy& study);

}  // namespace ttt
