// Bootstrap samples and what intervals are read off them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/quantile.h"

namespace ttt {

// How often each of `strata.size()` points counts in sample `index`: as many are drawn with replacement from each
// stratum as it has (points of one number are one stratum). A pure function of its arguments.
std::vector<double> bootstrap_weights(const std::vector<int>& strata, std::uint64_t seed, int index);

// The level to ask percentile_interval for, so that the interval of `parameters` fitted to `points` has the level that
// is wanted: by itself it is too narrow, as residuals are smaller than errors. Expanded percentiles (Hesterberg 2015,
// "What teachers should know about the bootstrap"): Student's t, times sqrt(points / (points - parameters)), in the
// place of the normal distribution.
double expanded_level(double level, int points, int parameters);

}  // namespace ttt
