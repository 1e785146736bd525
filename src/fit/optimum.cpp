#include "fit/optimum.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/rng.h"
#include "fit/parallel.h"

namespace ttt {
namespace {

constexpr double kOneBudget = 1.15, kOffCentre = 0.25;
constexpr std::size_t kFewestSizes = 4, kFewestBudgets = 3;

std::string shown(double value, int count = 3) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", count, value);
  return text;
}

// Least squares on logarithms; nothing for fewer than two different budgets.
std::optional<PowerLaw> power_law(const std::vector<std::pair<double, double>>& points) {
  double x = 0, y = 0, xx = 0, xy = 0;
  const auto count = static_cast<double>(points.size());
  for (const auto& [c, value] : points) {
    x += std::log(c) / count;
    y += std::log(value) / count;
  }
  for (const auto& [c, value] : points) {
    xx += (std::log(c) - x) * (std::log(c) - x);
    xy += (std::log(c) - x) * (std::log(value) - y);
  }
  if (!(xx > 1e-12)) return std::nullopt;
  return PowerLaw{y - xy / xx * x, xy / xx};
}

// What an approach finds in points that count so many times each (empty: once).
struct PowerLaws {
  std::optional<PowerLaw> n, d;
};
using Approach = std::function<PowerLaws(const std::vector<ScalingPoint>&, const std::vector<double>& weights)>;

void bootstrap(OptimumStudy& study, const Approach& approach, const std::vector<int>& strata,
               const FitSettings& settings) {
  study.level = settings.level;
  const std::uint64_t seed = stream_seed(settings.seed, study.name);
  std::vector<PowerLaws> samples(static_cast<std::size_t>(settings.bootstrap));
  for_each_index(settings.bootstrap, settings.threads, [&](int i) {
    samples[static_cast<std::size_t>(i)] = approach(study.points, bootstrap_weights(strata, seed, i));
  });
  for (const PowerLaws& sample : samples) {
    if (!sample.n || !sample.d) continue;
    study.n_samples.push_back(*sample.n);
    study.d_samples.push_back(*sample.d);
  }
}

void measure_bias(OptimumStudy& study, const Approach& approach, FitSettings settings) {
  settings.bootstrap = 0;
  settings.objective = FitObjective::kLeastSquares;  // a tenth of the time
  const LawStudy law = study_law(study.name, study.points, settings);
  if (!law.identified()) return;
  auto exact = study.points;
  for (ScalingPoint& point : exact) point.loss = law.fit.law.loss(point.n, point.d);
  const auto found = approach(exact, {}).n;
  if (!found) return;
  const DataRange c = range_of(study.points, &ScalingPoint::c);
  const double middle = std::sqrt(c.low * c.high);
  const double best = compute_optimal(law.fit.law, middle, law.flops_per_parameter_token).n;
  study.bias = {law.fit.law.n_exponent(), found->exponent, found->at(middle) / best};
  if (std::abs(study.bias->found_exponent - study.bias->law_exponent) > 0.01 ||
      std::abs(std::log(study.bias->n_ratio)) > 0.1)
    study.warnings.push_back(cat("biased: in the losses of a law like theirs, without noise, this approach finds C^",
                                 shown(study.bias->found_exponent), " where C^", shown(study.bias->law_exponent),
                                 " is true, and ", shown(study.bias->n_ratio),
                                 " times the best N at the middle of the budgets"));
}

// --- approach 2 ---

// A number for each point: which budget it belongs to.
std::vector<int> budgets_of(const std::vector<ScalingPoint>& points) {
  std::vector<std::size_t> order(points.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return points[a].c < points[b].c; });
  std::vector<int> budget(points.size(), 0);
  int current = -1;
  double first = 0;
  for (const std::size_t i : order) {
    if (current < 0 || points[i].c > first * kOneBudget) {
      ++current;
      first = points[i].c;
    }
    budget[i] = current;
  }
  return budget;
}

IsoflopCurve fit_curve(std::vector<ScalingPoint> points, const std::vector<double>& weights, double flops_per_nd) {
  IsoflopCurve curve;
  double log_c = 0, low = points.front().n, high = low, sum = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    sum += weights[i];
    log_c += weights[i] * std::log(points[i].c);
    low = std::min(low, points[i].n);
    high = std::max(high, points[i].n);
  }
  curve.c = std::exp(log_c / sum);
  curve.middle = std::sqrt(low * high);
  std::map<double, int> sizes;
  for (std::size_t i = 0; i < points.size(); ++i) sizes[points[i].n] += weights[i] > 0;
  const auto different = std::count_if(sizes.begin(), sizes.end(), [](const auto& size) { return size.second > 0; });
  const bool resampled = std::any_of(weights.begin(), weights.end(), [](double w) { return w != 1; });
  curve.points = std::move(points);
  // A bootstrap sample may hold fewer sizes than the design has; a parabola takes three.
  if (different < (resampled ? 3 : static_cast<std::ptrdiff_t>(kFewestSizes))) {
    curve.dropped = cat(different, different == 1 ? " size" : " sizes", " only; a parabola wants four");
    return curve;
  }
  const auto rows = static_cast<Eigen::Index>(curve.points.size());
  Eigen::Matrix<double, Eigen::Dynamic, 3> powers(rows, 3);
  Eigen::VectorXd losses(rows);
  for (Eigen::Index i = 0; i < rows; ++i) {
    const ScalingPoint& point = curve.points[static_cast<std::size_t>(i)];
    const double x = std::log(point.n / curve.middle), root = std::sqrt(weights[static_cast<std::size_t>(i)]);
    powers.row(i) << root, root * x, root * x * x;
    losses[i] = root * point.loss;
  }
  const Eigen::Vector3d solved = (powers.transpose() * powers).ldlt().solve(powers.transpose() * losses);
  curve.constant = solved[0];
  curve.slope = solved[1];
  curve.curvature = solved[2];
  if (!(curve.curvature > 0)) {
    curve.dropped = "the parabola has no lowest point";
    return curve;
  }
  const double x = -curve.slope / (2 * curve.curvature);
  curve.offset = x / (std::log(high / low) / 2);
  curve.best.n = curve.middle * std::exp(x);
  curve.best.d = curve.c / (flops_per_nd * curve.best.n);
  curve.best.loss = curve.loss(curve.best.n);
  if (std::abs(curve.offset) >= 1) curve.dropped = "the lowest point is outside the sizes that were trained";
  return curve;
}

std::vector<IsoflopCurve> fit_curves(const std::vector<ScalingPoint>& points, const std::vector<int>& budgets,
                                     const std::vector<double>& weights) {
  std::map<int, std::pair<std::vector<ScalingPoint>, std::vector<double>>> members;
  for (std::size_t i = 0; i < points.size(); ++i) {
    members[budgets[i]].first.push_back(points[i]);
    members[budgets[i]].second.push_back(weights.empty() ? 1 : weights[i]);
  }
  const double flops_per_nd = flops_per_parameter_token(points);
  std::vector<IsoflopCurve> curves;
  for (const auto& [budget, member] : members) curves.push_back(fit_curve(member.first, member.second, flops_per_nd));
  return curves;
}

PowerLaws laws_of(const std::vector<IsoflopCurve>& curves) {
  std::vector<std::pair<double, double>> n, d;
  for (const IsoflopCurve& curve : curves) {
    if (!curve.dropped.empty()) continue;
    n.emplace_back(curve.c, curve.best.n);
    d.emplace_back(curve.c, curve.best.d);
  }
  return {power_law(n), power_law(d)};
}

void warn_of_offsets(OptimumStudy& study) {
  int off = 0, used = 0;
  double worst = 0, worst_c = 0;
  std::vector<std::pair<double, double>> offsets;  // log C, offset
  for (const IsoflopCurve& curve : study.curves) {
    if (!curve.dropped.empty()) continue;
    ++used;
    off += std::abs(curve.offset) > kOffCentre;
    if (std::abs(curve.offset) > std::abs(worst)) worst = curve.offset, worst_c = curve.c;
    offsets.emplace_back(std::log(curve.c), curve.offset);
  }
  if (off > 0)
    study.warnings.push_back(cat("off centre: at ", off, " of ", used,
                                 " budgets the lowest point is beside the middle of "
                                 "the sizes (at ",
                                 shown(worst_c), " FLOPs by ", shown(std::abs(worst), 2), " of the way to the ",
                                 worst > 0 ? "largest" : "smallest", "); a parabola then puts it in the wrong place"));
  double x = 0, y = 0, xx = 0, xy = 0;
  for (const auto& [a, b] : offsets) x += a / used, y += b / used;
  for (const auto& [a, b] : offsets) xx += (a - x) * (a - x), xy += (a - x) * (b - y);
  const double drift = xx > 0 ? xy / xx * (offsets.back().first - offsets.front().first) : 0;
  if (std::abs(drift) > kOffCentre)
    study.warnings.push_back(cat("drift: from the lowest to the highest budget the lowest point moves by ",
                                 shown(std::abs(drift), 2), " of half the sizes' span towards the ",
                                 drift > 0 ? "largest" : "smallest", "; the exponents are biased"));
}

// --- approach 1 ---

std::vector<EnvelopePoint> find_envelope(const std::vector<ScalingPoint>& points, const std::vector<double>& weights) {
  std::vector<const ScalingPoint*> order;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (weights.empty() || weights[i] > 0) order.push_back(&points[i]);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->c < b->c; });
  std::map<int, const ScalingPoint*> bins;  // tenths of decades of C, the lowest loss of each
  for (const ScalingPoint* point : order) {
    const ScalingPoint*& best = bins[static_cast<int>(std::floor(std::log10(point->c) * 10))];
    if (best == nullptr || point->loss < best->loss) best = point;
  }
  const DataRange sizes = range_of(points, &ScalingPoint::n);
  std::vector<EnvelopePoint> envelope;
  for (const auto& [bin, point] : bins) {
    if (!envelope.empty() && point->loss >= envelope.back().point.loss) continue;
    envelope.push_back({*point, point->n <= sizes.low * 1.001 || point->n >= sizes.high / 1.001});
  }
  return envelope;
}

PowerLaws laws_of(const std::vector<EnvelopePoint>& envelope) {
  std::vector<std::pair<double, double>> n, d;
  for (const EnvelopePoint& at : envelope) {
    if (at.at_edge) continue;
    n.emplace_back(at.point.c, at.point.n);
    d.emplace_back(at.point.c, at.point.d);
  }
  return {power_law(n), power_law(d)};
}

// Points and reasons common to both approaches.
OptimumStudy begin_study(const std::string& name, const std::vector<ScalingPoint>& points) {
  OptimumStudy study;
  study.name = name;
  study.points = points;
  return study;
}

}  // namespace

double PowerLaw::at(double c) const {
  return std::exp(log_coefficient + exponent * std::log(c));
}

double IsoflopCurve::loss(double n) const {
  const double x = std::log(n / middle);
  return constant + slope * x + curvature * x * x;
}

std::optional<Interval> OptimumStudy::interval(double PowerLaw::*value) const {
  if (n_samples.empty()) return std::nullopt;
  std::vector<double> values;
  for (const PowerLaw& sample : n_samples) values.push_back(sample.*value);
  return percentile_interval(values, level);
}

std::optional<Interval> OptimumStudy::interval_at(bool of_n, double c) const {
  if (n_samples.empty()) return std::nullopt;
  std::vector<double> values;
  for (const PowerLaw& sample : of_n ? n_samples : d_samples) values.push_back(sample.at(c));
  return percentile_interval(values, level);
}

OptimumStudy study_isoflop(const std::string& name, const std::vector<ScalingPoint>& points,
                           const FitSettings& settings) {
  OptimumStudy study = begin_study(name, points);
  const std::vector<int> budgets = budgets_of(points);
  study.curves = fit_curves(points, budgets, {});
  const auto used = static_cast<std::size_t>(std::count_if(
      study.curves.begin(), study.curves.end(), [](const IsoflopCurve& curve) { return curve.dropped.empty(); }));
  if (used < kFewestBudgets) {
    study.reasons.push_back(cat(used, used == 1 ? " budget has" : " budgets have",
                                " a lowest point among its sizes; a power law wants three"));
    return study;
  }
  const PowerLaws laws = laws_of(study.curves);
  study.n = *laws.n;
  study.d = *laws.d;
  const Approach approach = [&budgets](const std::vector<ScalingPoint>& at, const std::vector<double>& weights) {
    return laws_of(fit_curves(at, budgets, weights));
  };
  bootstrap(study, approach, budgets, settings);
  warn_of_offsets(study);
  measure_bias(study, approach, settings);
  return study;
}

OptimumStudy study_envelope(const std::string& name, const std::vector<ScalingPoint>& points,
                            const FitSettings& settings) {
  OptimumStudy study = begin_study(name, points);
  study.envelope = find_envelope(points, {});
  std::map<double, int> sizes;
  std::size_t used = 0;
  for (const EnvelopePoint& at : study.envelope) {
    if (at.at_edge) continue;
    ++used;
    ++sizes[at.point.n];
  }
  if (sizes.size() < 2 || used < kFewestBudgets) {
    study.reasons.push_back(
        cat(used, " of ", study.envelope.size(), " points of the envelope belong to ", sizes.size(),
            sizes.size() == 1 ? " size" : " sizes",
            " that are neither the smallest nor the largest; a power law wants three, of two sizes"));
    return study;
  }
  const PowerLaws laws = laws_of(study.envelope);
  study.n = *laws.n;
  study.d = *laws.d;
  const Approach approach = [](const std::vector<ScalingPoint>& at, const std::vector<double>& weights) {
    return laws_of(find_envelope(at, weights));
  };
  bootstrap(study, approach, std::vector<int>(points.size(), 0), settings);
  if (used < study.envelope.size())
    study.warnings.push_back(cat(study.envelope.size() - used, " of ", study.envelope.size(),
                                 " points of the envelope have the smallest or largest size and take no part"));
  measure_bias(study, approach, settings);
  return study;
}

}  // namespace ttt
