#include "fit/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/rng.h"

namespace ttt {
namespace {

double normal_distribution(double z) {
  return 0.5 * std::erfc(-z / std::sqrt(2.0));
}

// The z below which a share q of a distribution lies, by halving: both functions here are smooth and monotone.
template <class Distribution>
double inverse_of(const Distribution& distribution, double q) {
  double low = -1e3, high = 1e3;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (distribution(middle) < q ? low : high) = middle;
  }
  return (low + high) / 2;
}

// Student's t with `freedom` degrees of freedom: its density integrated by Simpson's rule in u = atan(t / sqrt(v)),
// where it is cos(u)^(v - 1) up to a factor.
double student_distribution(double t, double freedom) {
  if (freedom > 1000) return normal_distribution(t * (1 - 1 / (4 * freedom)) / std::sqrt(1 + t * t / (2 * freedom)));
  const double end = std::atan(t / std::sqrt(freedom)), half_pi = std::acos(0.0);
  const auto integral = [&](double to) {
    constexpr int kSteps = 400;
    double sum = 0;
    for (int i = 0; i <= kSteps; ++i) {
      const double u = to * i / kSteps;
      const double weight = i == 0 || i == kSteps ? 1 : i % 2 == 1 ? 4 : 2;
      sum += weight * std::pow(std::max(std::cos(u), 0.0), freedom - 1);
    }
    return sum * to / kSteps / 3;
  };
  return 0.5 + 0.5 * integral(end) / integral(half_pi);
}

}  // namespace

std::vector<double> bootstrap_weights(const std::vector<int>& strata, std::uint64_t seed, int index) {
  std::map<int, std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < strata.size(); ++i) members[strata[i]].push_back(i);
  CounterRng rng(mix64(stream_seed(seed, "bootstrap") ^ mix64(static_cast<std::uint64_t>(index))));
  std::vector<double> weights(strata.size(), 0);
  for (const auto& [stratum, points] : members) {
    const auto size = static_cast<double>(points.size());
    for (std::size_t i = 0; i < points.size(); ++i)
      weights[points[std::min(static_cast<std::size_t>(rng.uniform() * size), points.size() - 1)]] += 1;
  }
  return weights;
}

double expanded_level(double level, int points, int parameters) {
  const double freedom = points - parameters;
  if (freedom < 1) return 1;
  const double t = inverse_of([&](double z) { return student_distribution(z, freedom); }, (1 + level) / 2);
  return 2 * normal_distribution(t * std::sqrt(points / freedom)) - 1;
}

}  // namespace ttt
