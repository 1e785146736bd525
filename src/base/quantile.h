// Quantiles of samples.
#pragma once

#include <vector>

namespace ttt {

struct Interval {
  double low = 0, high = 0;
};

// The value below which a share `q` of the values lies, interpolated between neighbours; NaNs are left out. NaN where
// there is nothing else.
double quantile(std::vector<double> values, double q);

// The interval that holds the share `level` of the values in its middle: the percentile interval.
Interval percentile_interval(const std::vector<double>& values, double level);

}  // namespace ttt
