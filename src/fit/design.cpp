#include "fit/design.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "base/error.h"
#include "fit/law_fit.h"

namespace ttt {
namespace {

using Jacobian = Eigen::Matrix<double, Eigen::Dynamic, kLawParameters>;

constexpr double kThinnestDesign = 1.0 / 30;
constexpr double kSame = 1.05;  // sizes nearer than this are one size
constexpr double kNormal90 = 1.6449;

std::string three(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

int different_values(const std::vector<ScalingPoint>& points, double ScalingPoint::*value) {
  std::vector<double> sorted;
  for (const ScalingPoint& point : points) sorted.push_back(point.*value);
  std::sort(sorted.begin(), sorted.end());
  int count = 0;
  double last = 0;
  for (const double v : sorted) {
    if (count > 0 && v < last * kSame) continue;
    ++count;
    last = v;
  }
  return count;
}

// Of the points in the plane of log N and log D: the spread along their longest direction, across it, and the slope of
// the former.
struct Spread {
  double along = 0, across = 0, slope = 0;
};
Spread spread_of(const std::vector<ScalingPoint>& points) {
  double x = 0, y = 0, xx = 0, xy = 0, yy = 0;
  const auto count = static_cast<double>(points.size());
  for (const ScalingPoint& point : points) {
    x += std::log(point.n) / count;
    y += std::log(point.d) / count;
  }
  for (const ScalingPoint& point : points) {
    const double dx = std::log(point.n) - x, dy = std::log(point.d) - y;
    xx += dx * dx / count;
    xy += dx * dy / count;
    yy += dy * dy / count;
  }
  const double middle = (xx + yy) / 2, half = std::hypot((xx - yy) / 2, xy);
  return {std::sqrt(middle + half), std::sqrt(std::max(middle - half, 0.0)),
          std::tan(0.5 * std::atan2(2 * xy, xx - yy))};
}

// d log L / d (log E, log A', log B', alpha, beta), a row for each point.
Jacobian jacobian(const std::vector<ScalingPoint>& points, const ScalingLaw& law) {
  const auto count = static_cast<double>(points.size());
  double x_mean = 0, y_mean = 0;
  for (const ScalingPoint& point : points) {
    x_mean += std::log(point.n) / count;
    y_mean += std::log(point.d) / count;
  }
  Jacobian rows(static_cast<Eigen::Index>(points.size()), kLawParameters);
  for (Eigen::Index i = 0; i < rows.rows(); ++i) {
    const double x = std::log(points[static_cast<std::size_t>(i)].n),
                 y = std::log(points[static_cast<std::size_t>(i)].d);
    const double n = std::exp(std::log(law.A) - law.alpha * x), d = std::exp(std::log(law.B) - law.beta * y);
    const double sum = law.E + n + d;
    rows.row(i) << law.E / sum, n / sum, d / sum, -n / sum * (x - x_mean), -d / sum * (y - y_mean);
  }
  return rows;
}

}  // namespace

std::vector<std::string> design_mistakes(const std::vector<ScalingPoint>& points) {
  std::vector<std::string> reasons;
  if (points.size() <= kLawParameters) {
    reasons.push_back(cat(points.size(), points.size() == 1 ? " point leaves" : " points leave",
                          " nothing over to judge five parameters by; at least six are needed"));
    return reasons;
  }
  const int sizes = different_values(points, &ScalingPoint::n), lengths = different_values(points, &ScalingPoint::d);
  if (sizes < 3)
    reasons.push_back(cat("there ", sizes == 1 ? "is one size N" : "are two sizes N", "; three are needed"));
  if (lengths < 3)
    reasons.push_back(
        cat("there ", lengths == 1 ? "is one number" : "are two numbers", " of tokens D; three are needed"));
  const Spread spread = spread_of(points);
  if (spread.across <= kThinnestDesign * spread.along) {
    const DataRange n = range_of(points, &ScalingPoint::n);
    const double ratio = points.front().d / points.front().n;
    reasons.push_back(std::abs(spread.slope - 1) < 0.05 ? cat("all runs have about ", three(ratio),
                                                              " tokens a parameter, so that N and D cannot be "
                                                              "told apart; vary D at fixed N")
                      : std::abs(spread.slope + 1) < 0.05
                          ? std::string("all runs have the same N D, so that N and D cannot be told apart; add budgets")
                          : cat("D follows N in all runs (as N^", three(spread.slope), ", N from ", three(n.low),
                                " to ", three(n.high), "), so that they cannot be told apart; vary D at fixed N"));
  }
  return reasons;
}

double law_condition(const std::vector<ScalingPoint>& points, const ScalingLaw& law) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Jacobian rows = jacobian(points, law);
  if (!rows.allFinite() || rows.rows() < kLawParameters) return kInfinity;
  for (Eigen::Index i = 0; i < kLawParameters; ++i) {
    const double norm = rows.col(i).norm();
    if (!(norm > 0)) return kInfinity;
    rows.col(i) /= norm;
  }
  const Eigen::Matrix<double, kLawParameters, kLawParameters> gram = rows.transpose() * rows;
  const auto squares =
      Eigen::SelfAdjointEigenSolver<Eigen::Matrix<double, kLawParameters, kLawParameters>>(gram, Eigen::EigenvaluesOnly)
          .eigenvalues();
  // Beyond 1e7 a square is rounding.
  return squares[0] > 1e-14 * squares[kLawParameters - 1] ? std::sqrt(squares[kLawParameters - 1] / squares[0])
                                                          : kInfinity;
}

std::optional<LawErrors> law_errors(const std::vector<ScalingPoint>& points, const ScalingLaw& law, double noise) {
  if (!std::isfinite(law_condition(points, law))) return std::nullopt;
  Jacobian rows = jacobian(points, law);
  Eigen::Matrix<double, kLawParameters, 1> lengths;
  for (Eigen::Index i = 0; i < kLawParameters; ++i) {
    lengths[i] = rows.col(i).norm();
    rows.col(i) /= lengths[i];
  }
  const Eigen::Matrix<double, kLawParameters, kLawParameters> inverse = (rows.transpose() * rows).inverse();
  const auto error = [&](Eigen::Index i) { return noise * std::sqrt(inverse(i, i)) / lengths[i]; };
  return LawErrors{law.E * error(0), error(3), error(4)};
}

DesignVerdict judge_design(const std::vector<ScalingPoint>& points, const ScalingLaw& law, double noise) {
  DesignVerdict verdict;
  verdict.law = law;
  verdict.noise = noise;
  verdict.reasons = design_mistakes(points);
  if (!verdict.identified()) return verdict;
  const double condition = law_condition(points, law);
  if (condition > kWorstCondition) {
    verdict.reasons.push_back(
        cat("the runs cannot tell the parameters apart (condition of the Jacobian ", three(condition), ")"));
    return verdict;
  }
  verdict.errors = law_errors(points, law, noise);
  const auto exponent = [&](const char* name, double value, double error, const char* remedy) {
    const double low = value - kNormal90 * error, high = value + kNormal90 * error;
    if (low > 0 && high <= kWidestExponent * low) return;
    verdict.reasons.push_back(
        cat("the 90 % interval of ", name, " would be ", three(low), " to ", three(high), "; ", remedy));
  };
  exponent("alpha", law.alpha, verdict.errors->alpha, "widen the range of sizes N, or add runs");
  exponent("beta", law.beta, verdict.errors->beta, "widen the range of tokens D, or add runs");
  double lowest = std::numeric_limits<double>::infinity();
  for (const ScalingPoint& point : points) lowest = std::min(lowest, law.loss(point.n, point.d));
  if (2 * kNormal90 * verdict.errors->E > kWidestFloor * lowest)
    verdict.reasons.push_back(cat("the 90 % interval of E would be ", three(law.E - kNormal90 * verdict.errors->E),
                                  " to ", three(law.E + kNormal90 * verdict.errors->E),
                                  "; add runs that are larger and longer"));
  return verdict;
}

std::string to_sentence(const DesignVerdict& verdict) {
  const char* law = "L = E + A/N^alpha + B/D^beta";
  if (!verdict.identified()) {
    std::string text = cat("does not identify ", law, ": ");
    for (std::size_t i = 0; i < verdict.reasons.size(); ++i) text += cat(i == 0 ? "" : "; ", verdict.reasons[i]);
    return text;
  }
  return cat("identifies ", law, ": at published parameters and ", three(100 * verdict.noise), " % noise a run, alpha ",
             three(verdict.law.alpha), " +- ", three(verdict.errors->alpha), ", beta ", three(verdict.law.beta), " +- ",
             three(verdict.errors->beta), ", E ", three(verdict.law.E), " +- ", three(verdict.errors->E),
             " (standard errors)");
}

}  // namespace ttt
