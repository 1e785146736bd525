// Bootstrap samples and what intervals are read off them.
#pragma once

#include <cstdint>
#include <vector>

namespace ttt {

struct Interval {
  double low = 0, high = 0;
};

// How often each of `strata.size()` points counts in sample `index`: as many are drawn with replacement from each
// stratum as it has (points of one number are one stratum). A pure function of its arguments.
std::vector<double> bootstrap_weights(const std::vector<int>& strata, std::uint64_t seed, int index);

// The value below which a share `q` of the values lies, interpolated between neighbours; NaNs are left out. NaN where
// there is nothing else.
double quantile(std::vector<double> values, double q);

// The interval that holds the share `level` of the values in its middle: the percentile interval.
Interval percentile_interval(const std::vector<double>& values, double level);

// The level to ask percentile_interval for, so that the interval of `parameters` fitted to `points` has the level that
// is wanted: by itself it is too narrow, as residuals are smaller than errors. Expanded percentiles (Hesterberg 2015,
// "What teachers should know about the bootstrap"): Student's t, times sqrt(points / (points - parameters)), in the
// place of the normal distribution.
double expanded_level(double level, int points, int parameters);

}  // namespace ttt
