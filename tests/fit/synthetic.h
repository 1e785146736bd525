// Points of a law that is known, at designs that are like those of real studies.
#pragma once

#include <cmath>
#include <vector>

#include "base/rng.h"
#include "fit/law.h"
#include "fit/points.h"

namespace ttt {

// About what Besiroglu et al. 2024 find (arXiv 2404.10102).
constexpr ScalingLaw kSyntheticLaw = {1.82, 480, 2100, 0.347, 0.367};

// Standard normal, by Box and Muller.
inline double normal_draw(CounterRng& rng) {
  const double radius = std::sqrt(-2 * std::log(1 - rng.uniform()));
  return radius * std::cos(2 * std::acos(-1.0) * rng.uniform());
}

// Budgets evenly in log C from low to high, each with `sizes` sizes around the best one, a factor of `span` to either
// side, times `shift`; log L has noise of that standard deviation.
struct IsoflopDesign {
  int budgets = 7, sizes = 9;
  double low = 1e18, high = 1e21, span = 5, shift = 1, drift = 0;  // shift grows as C^drift
  double noise = 0;
};
inline std::vector<ScalingPoint> isoflop_points(const ScalingLaw& law, const IsoflopDesign& design, CounterRng& rng) {
  std::vector<ScalingPoint> points;
  for (int b = 0; b < design.budgets; ++b) {
    const double c =
        design.low * std::pow(design.high / design.low, design.budgets == 1 ? 0 : 1.0 * b / (design.budgets - 1));
    const double best = compute_optimal(law, c).n * design.shift * std::pow(c / design.low, design.drift);
    for (int s = 0; s < design.sizes; ++s) {
      ScalingPoint point;
      point.c = c;
      point.n = best * std::pow(design.span, 2.0 * s / (design.sizes - 1) - 1);
      point.d = c / (6 * point.n);
      point.loss = law.loss(point.n, point.d) * std::exp(design.noise * normal_draw(rng));
      points.push_back(point);
    }
  }
  return points;
}

// Sizes evenly in log N, all trained on so many tokens a parameter.
inline std::vector<ScalingPoint> ray_points(const ScalingLaw& law, int sizes, double tokens_per_parameter, double noise,
                                            CounterRng& rng) {
  std::vector<ScalingPoint> points;
  for (int s = 0; s < sizes; ++s) {
    ScalingPoint point;
    point.n = 1e7 * std::pow(100, 1.0 * s / (sizes - 1));
    point.d = tokens_per_parameter * point.n;
    point.c = 6 * point.n * point.d;
    point.loss = law.loss(point.n, point.d) * std::exp(noise * normal_draw(rng));
    points.push_back(point);
  }
  return points;
}

}  // namespace ttt
