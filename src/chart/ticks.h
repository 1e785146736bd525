// Where an axis has its ticks, and what stands at them.
#pragma once

#include <string>
#include <vector>

#include "chart/chart.h"

namespace ttt {

struct Tick {
  double value = 0;
  std::string label;  // empty: a small one, between those that say their numbers
};

// Ticks within [low, high], low < high (above zero where `scale` is logarithmic), of which about `count` have labels:
// multiples of 1, 2 or 5 times a power of ten on a linear axis; powers of ten on a logarithmic one, with their
// multiples where there are few, and on a range too short for both as on a linear one; powers of two for kLog2.
std::vector<Tick> make_ticks(double low, double high, AxisScale scale, NumberStyle style, int count);

// A number as charts show it, with at most `digits` significant ones: "0.25", "1500", "3×10²⁰", or "125M".
std::string chart_number(double value, NumberStyle style, int digits = 4);

}  // namespace ttt
