// What a design, the (N, D) of runs, can tell about L = E + A / N^alpha + B / D^beta, whatever the losses are: for data
// that are there, and for runs that are only planned.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fit/law.h"
#include "fit/points.h"

namespace ttt {

// Beyond these nothing is called identified.
constexpr double kWorstCondition = 1e5;  // of law_condition()
constexpr double kWidestExponent = 4;    // ends of an interval of alpha or beta, high / low
constexpr double kWidestFloor = 0.5;     // of an interval of E, in lowest losses

// What the points of Hoffmann et al. give (Besiroglu et al. 2024, arXiv 2404.10102, table 1).
constexpr ScalingLaw kPublishedLaw = {1.8172, 482.01, 2085.43, 0.3478, 0.3658};
// Standard deviation of log L that one run is expected to have around a law: seeds, data order.
constexpr double kAssumedNoise = 0.003;

// How well the points determine the law near `law`: the largest over the smallest singular value of the Jacobian of
// log L with respect to (log E, log A, log B, alpha, beta), N and D taken relative to their geometric means, columns of
// length 1. Infinite where they cannot tell two parameters apart.
double law_condition(const std::vector<ScalingPoint>& points, const ScalingLaw& law);

// What cannot be fitted from these (N, D), whatever the losses are; empty: nothing speaks against it.
std::vector<std::string> design_mistakes(const std::vector<ScalingPoint>& points);

// Standard errors that least squares of log L would have: the diagonal of noise^2 (J^T J)^-1, J as in law_condition().
struct LawErrors {
  double E = 0, alpha = 0, beta = 0;
};
std::optional<LawErrors> law_errors(const std::vector<ScalingPoint>& points, const ScalingLaw& law, double noise);

// What study_law() would say of runs at these (N, D), whose losses are not used: design_mistakes(), the condition, and
// the 90 % intervals that follow from law_errors() in the place of bootstrapped ones.
struct DesignVerdict {
  std::vector<std::string> reasons;  // empty: identified
  std::optional<LawErrors> errors;
  ScalingLaw law;
  double noise = 0;
  bool identified() const { return reasons.empty(); }
};
DesignVerdict judge_design(const std::vector<ScalingPoint>& points, const ScalingLaw& law = kPublishedLaw,
                           double noise = kAssumedNoise);

// "identifies L(N, D) = ...: ..." or "does not identify L(N, D) = ...: REASONS".
std::string to_sentence(const DesignVerdict& verdict);

}  // namespace ttt
