#include "base/quantile.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ttt {

double quantile(std::vector<double> values, double q) {
  std::erase_if(values, [](double value) { return std::isnan(value); });
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const double at = std::clamp(q, 0.0, 1.0) * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const double part = at - static_cast<double>(below);
  if (part == 0 || values[below] == values[below + 1]) return values[below];  // also beside infinities
  return values[below] + part * (values[below + 1] - values[below]);
}

Interval percentile_interval(const std::vector<double>& values, double level) {
  return {quantile(values, (1 - level) / 2), quantile(values, (1 + level) / 2)};
}

}  // namespace ttt
