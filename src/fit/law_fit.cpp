#include "fit/law_fit.h"

#include <LBFGS.h>

#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "base/error.h"
#include "fit/parallel.h"

namespace ttt {
namespace {

using Eigen::ArrayXd;
using Eigen::VectorXd;
using Matrix3 = Eigen::Matrix<double, Eigen::Dynamic, 3>;

// The points as the fits want them: x = log N and y = log D without their means, so that A and alpha, B and beta hardly
// pull at one another.
struct LogPoints {
  explicit LogPoints(const std::vector<ScalingPoint>& points) {
    const auto size = static_cast<Eigen::Index>(points.size());
    x.resize(size), y.resize(size), loss.resize(size);
    for (Eigen::Index i = 0; i < size; ++i) {
      const ScalingPoint& point = points[static_cast<std::size_t>(i)];
      x[i] = std::log(point.n);
      y[i] = std::log(point.d);
      loss[i] = point.loss;
    }
    log_loss = loss.log();
    x_mean = x.mean();
    y_mean = y.mean();
    x -= x_mean;
    y -= y_mean;
  }
  ArrayXd x, y, loss, log_loss;
  double x_mean = 0, y_mean = 0;
};

// A function, remembered at its lowest: a line search that fails throws, wherever it is by then.
template <class Function>
class Lowest {
 public:
  explicit Lowest(Function& function) : function_(function) {}
  double operator()(const VectorXd& p, VectorXd& gradient) {
    double value = function_(p, gradient);
    if (!std::isfinite(value) || !gradient.allFinite()) {
      value = std::numeric_limits<double>::max();
      gradient.setZero();
    }
    if (value < value_) {
      value_ = value;
      p_ = p;
    }
    return value;
  }
  double value() const { return value_; }
  const VectorXd& p() const { return p_; }

 private:
  Function& function_;
  double value_ = std::numeric_limits<double>::infinity();
  VectorXd p_;
};

// L-BFGS from `p` until a step gains less than `tolerance` of the value (which is of the order of 1 or above), begun
// anew up to `rounds` times while that gains anything. Leaves the lowest point in `p`, returns its value.
template <class Function>
double minimize(Function& function, VectorXd& p, int iterations, double tolerance, int rounds) {
  LBFGSpp::LBFGSParam<double> parameters;
  parameters.m = 8;
  parameters.epsilon = 1e-10;
  parameters.epsilon_rel = 0;
  parameters.past = 2;
  parameters.delta = tolerance;
  parameters.max_iterations = iterations;
  parameters.max_linesearch = 40;
  parameters.linesearch = LBFGSpp::LBFGS_LINESEARCH_BACKTRACKING_STRONG_WOLFE;
  Lowest<Function> lowest(function);
  for (int round = 0; round < rounds; ++round) {
    const double before = lowest.value();
    VectorXd at = round == 0 ? p : lowest.p();
    double value = 0;
    try {
      LBFGSpp::LBFGSSolver<double, LBFGSpp::LineSearchNocedalWright>(parameters).minimize(lowest, at, value);
    } catch (const std::exception&) {
      // A line search that finds nothing lower: at a minimum, up to rounding.
    }
    if (!std::isfinite(lowest.value())) return lowest.value();
    if (round > 0 && before - lowest.value() <= tolerance * std::abs(before)) break;
  }
  p = lowest.p();
  return lowest.value();
}

// --- Huber's loss on log L ---

// p = (e, a', b', alpha, beta), a' = a - alpha mean(log N). The value is the objective over delta^2.
class HuberFunction {
 public:
  HuberFunction(const LogPoints& points, const ArrayXd& weights) : points_(points), weights_(weights) {}

  double operator()(const VectorXd& p, VectorXd& gradient) {
    n_ = p[1] - p[3] * points_.x;
    d_ = p[2] - p[4] * points_.y;
    largest_ = n_.max(d_).max(p[0]);
    n_ = (n_ - largest_).exp();
    d_ = (d_ - largest_).exp();
    e_ = (p[0] - largest_).exp();
    sum_ = n_ + d_ + e_;
    residual_ = sum_.log() + largest_ - points_.log_loss;
    clipped_ = residual_.max(-kHuberDelta).min(kHuberDelta);
    // delta (|r| - delta/2) beyond delta, r^2/2 within: both are c (r - c/2), c = r clipped.
    const double value = (weights_ * clipped_ * (residual_ - 0.5 * clipped_)).sum();
    clipped_ *= weights_ / sum_;
    n_ *= clipped_;
    d_ *= clipped_;
    gradient[0] = (clipped_ * e_).sum();
    gradient[1] = n_.sum();
    gradient[2] = d_.sum();
    gradient[3] = -(n_ * points_.x).sum();
    gradient[4] = -(d_ * points_.y).sum();
    gradient *= kScale;
    return value * kScale;
  }

  static constexpr double kScale = 1 / (kHuberDelta * kHuberDelta);

 private:
  const LogPoints& points_;
  const ArrayXd& weights_;
  ArrayXd n_, d_, e_, largest_, sum_, residual_, clipped_;
};

ScalingLaw law_of(const VectorXd& p, const LogPoints& points) {
  return {std::exp(p[0]), std::exp(p[1] + p[3] * points.x_mean), std::exp(p[2] + p[4] * points.y_mean), p[3], p[4]};
}

VectorXd huber_start(const ScalingLaw& law, const LogPoints& points) {
  VectorXd p(kLawParameters);
  const double tiny = 1e-30;  // a term that the start does not have
  p << std::log(std::max(law.E, tiny)), std::log(std::max(law.A, tiny)) - law.alpha * points.x_mean,
      std::log(std::max(law.B, tiny)) - law.beta * points.y_mean, law.alpha, law.beta;
  return p;
}

LawFit fit_huber(const LogPoints& points, int threads) {
  const ArrayXd ones = ArrayXd::Ones(points.x.size());
  std::vector<ScalingLaw> starts;
  for (int alpha = 0; alpha <= 4; ++alpha)
    for (int beta = 0; beta <= 4; ++beta)
      for (int e = -2; e <= 2; ++e)
        for (int a = 0; a <= 5; ++a)
          for (int b = 0; b <= 5; ++b)
            starts.push_back({std::exp(e * 0.5), std::exp(a * 5.0), std::exp(b * 5.0), alpha * 0.5, beta * 0.5});
  // All of them a few steps, the best further, the best of these to the end.
  std::vector<std::pair<double, VectorXd>> ends;
  for (const ScalingLaw& start : starts) ends.emplace_back(0.0, huber_start(start, points));
  struct Leg {
    int iterations, rounds;
    double tolerance;
    std::size_t kept;
  };
  for (const Leg& leg : {Leg{8, 1, 1e-6, 600}, Leg{60, 1, 1e-6, 60}, Leg{300, 2, 1e-9, 6}, Leg{1000, 20, 1e-14, 1}}) {
    for_each_index(static_cast<int>(ends.size()), threads, [&](int i) {
      HuberFunction function(points, ones);
      auto& [value, p] = ends[static_cast<std::size_t>(i)];
      value = minimize(function, p, leg.iterations, leg.tolerance, leg.rounds);
    });
    std::stable_sort(ends.begin(), ends.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
    ends.resize(std::min(ends.size(), leg.kept));
  }
  return {law_of(ends.front().second, points), ends.front().first / HuberFunction::kScale};
}

// --- least squares by variable projection ---

// Of p = (log alpha, log beta): the least sum of squares that any E, A, B >= 0 reach, over the mean square of the
// losses' spread. The gradient is that at fixed E, A, B, which are at their best.
class ProjectedFunction {
 public:
  ProjectedFunction(const LogPoints& points, const ArrayXd& weights)
      : points_(points), root_(weights.sqrt()), target_(points.loss * root_), columns_(points.x.size(), 3) {}

  double operator()(const VectorXd& p, VectorXd& gradient) {
    const double alpha = std::exp(p[0]), beta = std::exp(p[1]);
    n_ = (-alpha * points_.x).exp();
    d_ = (-beta * points_.y).exp();
    columns_.col(0) = root_.matrix();
    columns_.col(1) = (root_ * n_).matrix();
    columns_.col(2) = (root_ * d_).matrix();
    solve();
    residual_ = (target_.matrix() - columns_ * coefficients_).array();
    // d/d alpha of (L - ... - A n)^2 is 2 r A n x, and alpha = exp(p).
    gradient[0] = 2 * coefficients_[1] * (residual_ * root_ * n_ * points_.x).sum() * alpha;
    gradient[1] = 2 * coefficients_[2] * (residual_ * root_ * d_ * points_.y).sum() * beta;
    value_ = residual_.square().sum();
    gradient *= scale_;
    return value_ * scale_;
  }

  void set_scale(double scale) { scale_ = scale; }
  double sum_of_squares() const { return value_; }
  ScalingLaw law(const VectorXd& p) const {
    const double alpha = std::exp(p[0]), beta = std::exp(p[1]);
    return {coefficients_[0], coefficients_[1] * std::exp(alpha * points_.x_mean),
            coefficients_[2] * std::exp(beta * points_.y_mean), alpha, beta};
  }

 private:
  // Least squares with no negative coefficient: all three, else the best set of one or two. By normal equations, whose
  // columns are of length 1: exponents that are not nearly zero keep them far enough apart.
  void solve() {
    const Eigen::Array3d lengths = columns_.colwise().norm();
    const Eigen::Array33d outer = lengths.matrix() * lengths.matrix().transpose();
    const Eigen::Matrix3d gram = ((columns_.transpose() * columns_).array() / outer).matrix();
    const Eigen::Vector3d right = ((columns_.transpose() * target_.matrix()).array() / lengths).matrix();
    double best = std::numeric_limits<double>::infinity();
    for (const int set : {7, 1, 2, 3, 4, 5, 6}) {
      Eigen::Matrix3d part = Eigen::Matrix3d::Identity();
      Eigen::Vector3d part_right = Eigen::Vector3d::Zero();
      for (int i = 0; i < 3; ++i) {
        if ((set >> i & 1) == 0) continue;
        part_right[i] = right[i];
        for (int j = 0; j < 3; ++j) {
          if ((set >> j & 1) != 0) part(i, j) = gram(i, j);
        }
      }
      const Eigen::Vector3d solved = (part.ldlt().solve(part_right).array() / lengths).matrix();
      if (!solved.allFinite() || solved.minCoeff() < 0) continue;
      const double squares = (target_.matrix() - columns_ * solved).squaredNorm();
      if (squares >= best) continue;
      best = squares;
      coefficients_ = solved;
      if (set == 7) return;
    }
  }

  const LogPoints& points_;
  const ArrayXd root_, target_;
  Matrix3 columns_;
  ArrayXd n_, d_, residual_;
  Eigen::Vector3d coefficients_ = Eigen::Vector3d::Zero();
  double value_ = 0, scale_ = 1;
};

// From `p`; the function is scaled so that its value is 1 there.
LawFit descend(ProjectedFunction& function, VectorXd p, int rounds) {
  VectorXd gradient(2);
  function.set_scale(1);
  const double begin = function(p, gradient);
  if (begin > 0) function.set_scale(1 / begin);
  minimize(function, p, 500, 1e-15, rounds);
  function(p, gradient);
  return {function.law(p), function.sum_of_squares()};
}

LawFit fit_least_squares(const LogPoints& points, int threads) {
  const ArrayXd ones = ArrayXd::Ones(points.x.size());
  constexpr int kSteps = 32;  // exponents from 0.02 to 4, evenly in their logarithms
  const auto exponent = [](int i) { return std::log(0.02) + std::log(200.0) * i / (kSteps - 1); };
  std::vector<double> values(kSteps * kSteps);
  for_each_index(kSteps, threads, [&](int i) {
    ProjectedFunction function(points, ones);
    VectorXd p(2), gradient(2);
    for (int j = 0; j < kSteps; ++j) {
      p << exponent(i), exponent(j);
      values[static_cast<std::size_t>(i * kSteps + j)] = function(p, gradient);
    }
  });
  // From every value that no neighbour undercuts, the ten lowest of them.
  std::vector<std::pair<double, int>> minima;
  for (int i = 0; i < kSteps; ++i) {
    for (int j = 0; j < kSteps; ++j) {
      const double value = values[static_cast<std::size_t>(i * kSteps + j)];
      bool lowest = true;
      for (int k = std::max(0, i - 1); k <= std::min(kSteps - 1, i + 1); ++k)
        for (int l = std::max(0, j - 1); l <= std::min(kSteps - 1, j + 1); ++l)
          lowest = lowest && values[static_cast<std::size_t>(k * kSteps + l)] >= value;
      if (lowest) minima.emplace_back(value, i * kSteps + j);
    }
  }
  std::sort(minima.begin(), minima.end());
  minima.resize(std::min<std::size_t>(minima.size(), 10));
  std::vector<LawFit> fits(minima.size());
  for_each_index(static_cast<int>(minima.size()), threads, [&](int i) {
    ProjectedFunction function(points, ones);
    const int at = minima[static_cast<std::size_t>(i)].second;
    VectorXd p(2);
    p << exponent(at / kSteps), exponent(at % kSteps);
    fits[static_cast<std::size_t>(i)] = descend(function, p, 20);
  });
  return *std::min_element(fits.begin(), fits.end(),
                           [](const LawFit& a, const LawFit& b) { return a.objective < b.objective; });
}

}  // namespace

struct LawFitter::State {
  State(const std::vector<ScalingPoint>& all, FitObjective kind, int count)
      : points(all), logs(all), objective(kind), threads(count) {}
  std::vector<ScalingPoint> points;
  LogPoints logs;
  FitObjective objective;
  int threads;
};

LawFitter::LawFitter(const std::vector<ScalingPoint>& points, FitObjective objective, int threads)
    : state_(std::make_unique<State>(points, objective, threads)) {}
LawFitter::~LawFitter() = default;
LawFitter::LawFitter(LawFitter&&) noexcept = default;

LawFit LawFitter::fit() const {
  return state_->objective == FitObjective::kHuber ? fit_huber(state_->logs, state_->threads)
                                                   : fit_least_squares(state_->logs, state_->threads);
}

LawFit LawFitter::refit(const std::vector<double>& weights, const ScalingLaw& start) const {
  const LogPoints& points = state_->logs;
  ArrayXd counted = ArrayXd::Ones(points.x.size());
  if (!weights.empty()) {
    TTT_CHECK(weights.size() == state_->points.size(), weights.size(), " weights of ", state_->points.size());
    counted = Eigen::Map<const ArrayXd>(weights.data(), counted.size());
  }
  if (state_->objective == FitObjective::kLeastSquares) {
    ProjectedFunction function(points, counted);
    VectorXd p(2);
    p << std::log(start.alpha), std::log(start.beta);
    return descend(function, p, 3);
  }
  HuberFunction function(points, counted);
  VectorXd p = huber_start(start, points);
  const double value = minimize(function, p, 500, 1e-11, 3);
  return {law_of(p, points), value / HuberFunction::kScale};
}

double LawFitter::objective(const ScalingLaw& law) const {
  double sum = 0;
  for (const ScalingPoint& point : state_->points) {
    if (state_->objective == FitObjective::kLeastSquares) {
      sum += std::pow(point.loss - law.loss(point.n, point.d), 2);
    } else {
      const double residual = std::log(point.loss) - std::log(law.loss(point.n, point.d));
      const double clipped = std::clamp(residual, -kHuberDelta, kHuberDelta);
      sum += clipped * (residual - 0.5 * clipped);
    }
  }
  return sum;
}

}  // namespace ttt
