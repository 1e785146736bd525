// What every benchmark shares: spreads of repeated measurements, and what they were taken on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace ttt {

// After which a benchmark repeats nothing, unless told otherwise.
inline constexpr double kBenchSeconds = 120;

// Of repeated measurements of one thing, in whatever unit they have.
struct Spread {
  double median = 0, min = 0, max = 0;
  Spread times(double factor) const { return {median * factor, min * factor, max * factor}; }
};

// Of at least one value; the median of an even number is the mean of the middle two.
Spread spread_of(std::vector<double> values);

Json to_json(const Spread& spread);  // {"median", "min", "max"}

// "AMD EPYC 9B14", or "unknown".
std::string cpu_name();

// The largest resident size that this process has had, in bytes (Linux's VmHWM); 0 where the system does not tell.
std::int64_t peak_resident_bytes();

// Processor, GPU ("": none was used) and build, as every report of a benchmark has them.
Json machine_json(const std::string& gpu);
std::string machine_text(const std::string& gpu);  // one line

}  // namespace ttt
