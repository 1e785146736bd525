// Fitting L = E + A / N^alpha + B / D^beta to points.
#pragma once

#include <memory>
#include <vector>

#include "fit/law.h"
#include "fit/points.h"

namespace ttt {

enum class FitObjective {
  // Hoffmann et al., section 3.3: the sum over points of Huber's loss (delta 1e-3) of log L - LSE(a - alpha log N,
  // b - beta log D, e), with e = log E, a = log A, b = log B; L-BFGS from a grid of starts. The sum, not the mean,
  // whose small values end an optimiser early (Besiroglu et al. 2024, arXiv 2404.10102).
  kHuber,
  // The sum of squares of L - E - A / N^alpha - B / D^beta with E, A, B >= 0, by variable projection: E, A and B are
  // a linear least-squares problem inside a search over alpha and beta.
  kLeastSquares,
};

constexpr double kHuberDelta = 1e-3;
constexpr int kLawParameters = 5;

struct LawFit {
  ScalingLaw law;
  double objective = 0;  // the minimum that was reached
};

// What a fit works on: the points, and how often each counts (a bootstrap sample counts it 0, 1, 2, ... times).
class LawFitter {
 public:
  // At least one point; every n, d, loss above zero. threads: for fit().
  LawFitter(const std::vector<ScalingPoint>& points, FitObjective objective, int threads = 1);
  ~LawFitter();
  LawFitter(LawFitter&&) noexcept;

  // The best of a grid of starts (their section D.4 for kHuber: 4500 of them), each point counted once.
  LawFit fit() const;
  // From `start` alone, which is near the minimum. weights: of each point, >= 0; empty: 1 each. Safe from many threads.
  LawFit refit(const std::vector<double>& weights, const ScalingLaw& start) const;

  double objective(const ScalingLaw& law) const;  // of all points, at any law

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ttt
