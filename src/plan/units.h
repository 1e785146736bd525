// Numbers for people: "125.3M", "0.67 GFLOP", "1.5 GB", "2.1 h".
#pragma once

#include <cstdint>
#include <string>

namespace ttt {

// Three significant digits and a decimal unit: 124953600 -> "125M"; below 1000 as it is.
std::string short_number(double value);
std::string short_bytes(std::int64_t bytes);  // "1.5 GB", decimal
std::string short_hours(double hours);        // "36 s", "14 min", "2.5 h", "12 days"

}  // namespace ttt
