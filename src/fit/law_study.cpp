#include "fit/law_study.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/rng.h"
#include "fit/design.h"
#include "fit/parallel.h"

namespace ttt {
namespace {

std::string digits(double value, int count = 3) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", count, value);
  return text;
}

std::optional<std::string> wide(const char* name, const Interval& interval, double level, double widest) {
  if (interval.low > 0 && interval.high <= widest * interval.low) return std::nullopt;
  return cat("the ", digits(100 * level), " % interval of ", name, " is ", digits(interval.low), " to ",
             digits(interval.high));
}

// By the minimum itself and by the bootstrap samples.
void judge(LawStudy& study) {
  const ScalingLaw& law = study.fit.law;
  const double lowest = range_of(study.points, &ScalingPoint::loss).low;
  double largest_n = 0, largest_d = 0;  // the terms' largest shares in the losses
  for (const ScalingPoint& point : study.points) {
    largest_n = std::max(largest_n, law.A * std::pow(point.n, -law.alpha) / point.loss);
    largest_d = std::max(largest_d, law.B * std::pow(point.d, -law.beta) / point.loss);
  }
  const auto zero = [&](const char* name, const char* what) {
    study.reasons.push_back(cat("the fit is best with ", name, " = 0: the data show no ", what));
  };
  if (!(law.E > 1e-6 * lowest)) zero("E", "floor that the loss falls towards");
  if (!(largest_n > 1e-6) || !(law.alpha > 0)) zero("A", "dependence on N");
  if (!(largest_d > 1e-6) || !(law.beta > 0)) zero("B", "dependence on D");
  if (!study.reasons.empty()) return;
  study.condition = law_condition(study.points, law);
  if (study.condition > kWorstCondition)
    study.reasons.push_back(
        cat("the points cannot tell the parameters apart (condition of the Jacobian ", digits(study.condition), ")"));
  if (study.samples.empty()) return;
  const auto alpha = *study.interval([](const ScalingLaw& l) { return l.alpha; });
  const auto beta = *study.interval([](const ScalingLaw& l) { return l.beta; });
  const auto floor = *study.interval([](const ScalingLaw& l) { return l.E; });
  if (const auto reason = wide("alpha", alpha, study.level, kWidestExponent)) study.reasons.push_back(*reason);
  if (const auto reason = wide("beta", beta, study.level, kWidestExponent)) study.reasons.push_back(*reason);
  if (floor.high - floor.low > kWidestFloor * lowest)
    study.reasons.push_back(
        cat("the ", digits(100 * study.level), " % interval of E is ", digits(floor.low), " to ", digits(floor.high)));
}

}  // namespace

std::optional<Interval> LawStudy::interval(const std::function<double(const ScalingLaw&)>& value) const {
  if (samples.empty()) return std::nullopt;
  std::vector<double> values;
  for (const ScalingLaw& sample : samples) values.push_back(value(sample));
  return percentile_interval(values, percentile_level);
}

LawStudy study_law(const std::string& name, const std::vector<ScalingPoint>& points, const FitSettings& settings) {
  LawStudy study;
  study.name = name;
  study.points = points;
  study.level = settings.level;
  // Huber's minimum moves with a sample as a median does, more than a mean: its percentiles are wide enough as they
  // are. Of both, tests/fit/coverage.cpp measures how often the intervals hold the truth.
  study.percentile_level = settings.objective == FitObjective::kHuber
                               ? settings.level
                               : expanded_level(settings.level, static_cast<int>(points.size()), kLawParameters);
  study.flops_per_parameter_token = flops_per_parameter_token(points);
  study.reasons = design_mistakes(points);
  if (points.size() <= kLawParameters) return study;

  const LawFitter fitter(points, settings.objective, settings.threads);
  study.fit = fitter.fit();
  double squares = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const double residual = std::log(points[i].loss) - std::log(study.fit.law.loss(points[i].n, points[i].d));
    study.residuals.push_back(residual);
    squares += residual * residual;
    if (std::abs(residual) > std::abs(study.residuals[study.largest_residual])) study.largest_residual = i;
  }
  study.residual_rms = std::sqrt(squares / static_cast<double>(points.size()));
  if (!study.identified()) return study;
  const std::vector<int> strata(points.size(), 0);
  const std::uint64_t seed =
      stream_seed(settings.seed, name);  // architectures' samples have nothing to do with each other
  study.samples.resize(static_cast<std::size_t>(settings.bootstrap));
  for_each_index(settings.bootstrap, settings.threads, [&](int i) {
    const auto weights = bootstrap_weights(strata, seed, i);
    study.samples[static_cast<std::size_t>(i)] = fitter.refit(weights, study.fit.law).law;
  });
  judge(study);
  return study;
}

std::optional<std::string> beyond_reach(const LawStudy& study, double flops) {
  const DataRange c = range_of(study.points, &ScalingPoint::c);
  const auto outside = [](double value, const DataRange& range) {
    return value > range.high * kFarthest * (1 + 1e-9) || value < range.low / kFarthest * (1 - 1e-9);
  };
  if (outside(flops, c))
    return cat("a budget of ", digits(flops), " FLOPs is more than ten times beyond the runs (", digits(c.low), " to ",
               digits(c.high), "), where no fit is trusted");
  const Allocation best = compute_optimal(study.fit.law, flops, study.flops_per_parameter_token);
  const DataRange n = range_of(study.points, &ScalingPoint::n), d = range_of(study.points, &ScalingPoint::d);
  if (outside(best.n, n))
    return cat("the best size at ", digits(flops), " FLOPs, ", digits(best.n),
               " parameters, is more than ten times beyond the runs (", digits(n.low), " to ", digits(n.high), ")");
  if (outside(best.d, d))
    return cat("the best training at ", digits(flops), " FLOPs, ", digits(best.d),
               " tokens, is more than ten times beyond the runs (", digits(d.low), " to ", digits(d.high), ")");
  return std::nullopt;
}

Allocation optimum_within_reach(const LawStudy& study, double flops) {
  if (const auto sentence = beyond_reach(study, flops))
    throw UserError(study.name.empty() ? *sentence : study.name + ": " + *sentence);
  return compute_optimal(study.fit.law, flops, study.flops_per_parameter_token);
}

std::vector<FlopMultiplier> flop_multipliers(const LawStudy& base, const LawStudy& study) {
  const DataRange a = range_of(base.points, &ScalingPoint::c), b = range_of(study.points, &ScalingPoint::c);
  const double low = std::max(a.low, b.low), high = std::min(a.high, b.high);
  std::vector<FlopMultiplier> out;
  if (low > high) return out;
  for (const double flops : {low, std::sqrt(low * high), high}) {
    FlopMultiplier at;
    at.base_flops = flops;
    at.loss = compute_optimal(base.fit.law, flops, base.flops_per_parameter_token).loss;
    at.flops = flops_to_reach(study.fit.law, at.loss, study.flops_per_parameter_token);
    if (at.flops > b.high * kFarthest || at.flops < b.low / kFarthest) continue;
    at.multiplier = at.base_flops / at.flops;
    // The loss stays what it is; both laws vary, independently of each other.
    std::vector<double> ratios;
    for (std::size_t i = 0; i < std::min(base.samples.size(), study.samples.size()); ++i)
      ratios.push_back(flops_to_reach(base.samples[i], at.loss, base.flops_per_parameter_token) /
                       flops_to_reach(study.samples[i], at.loss, study.flops_per_parameter_token));
    if (!ratios.empty())
      at.interval = percentile_interval(ratios, std::max(base.percentile_level, study.percentile_level));
    if (!out.empty() && out.back().base_flops == flops) continue;
    out.push_back(at);
  }
  return out;
}

}  // namespace ttt
