#include "fit/law.h"

#include <cmath>
#include <limits>

namespace ttt {

double ScalingLaw::loss(double n, double d) const {
  return E + A * std::pow(n, -alpha) + B * std::pow(d, -beta);
}

Allocation compute_optimal(const ScalingLaw& law, double flops, double flops_per_parameter_token) {
  const double product = flops / flops_per_parameter_token;
  const double sum = law.alpha + law.beta;
  // By logarithms: A and B may be beyond 1e100 where an exponent is large.
  const double log_g = (std::log(law.alpha) + std::log(law.A) - std::log(law.beta) - std::log(law.B)) / sum;
  const double n = std::exp(log_g + law.n_exponent() * std::log(product));
  return {n, product / n, law.loss(n, product / n)};
}

double flops_to_reach(const ScalingLaw& law, double loss, double flops_per_parameter_token) {
  if (!(loss > law.E)) return std::numeric_limits<double>::infinity();
  // loss - E = K (C/k)^-gamma, and K is what it is at C = k.
  const Allocation one = compute_optimal(law, flops_per_parameter_token, flops_per_parameter_token);
  const double scale = law.A * std::pow(one.n, -law.alpha) + law.B * std::pow(one.d, -law.beta);
  return flops_per_parameter_token * std::exp(std::log(scale / (loss - law.E)) / law.loss_exponent());
}

}  // namespace ttt
