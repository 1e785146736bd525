// Where ticks stand and what they say.
#include "chart/ticks.h"

#include <gtest/gtest.h>

#include <cmath>

namespace ttt {
namespace {

std::string labels(double low, double high, AxisScale scale, NumberStyle style = NumberStyle::kPlain, int count = 6) {
  std::string out;
  for (const Tick& tick : make_ticks(low, high, scale, style, count)) {
    EXPECT_GE(tick.value, low - 1e-6 * std::abs(low));
    EXPECT_LE(tick.value, high + 1e-6 * std::abs(high));
    if (!tick.label.empty()) out += (out.empty() ? "" : " ") + tick.label;
  }
  return out;
}

TEST(Ticks, LinearOnesAreMultiplesOfOneTwoOrFive) {
  EXPECT_EQ(labels(0, 10, AxisScale::kLinear), "0 2 4 6 8 10");
  EXPECT_EQ(labels(0.13, 0.62, AxisScale::kLinear), "0.2 0.3 0.4 0.5 0.6");
  EXPECT_EQ(labels(-1.2, 1.1, AxisScale::kLinear), "−1.0 −0.5 0.0 0.5 1.0");
  EXPECT_EQ(labels(3.2181, 3.2219, AxisScale::kLinear), "3.2185 3.2190 3.2195 3.2200 3.2205 3.2210 3.2215");
  EXPECT_EQ(labels(0, 3e9, AxisScale::kLinear, NumberStyle::kShort), "0 500M 1B 1.5B 2B 2.5B 3B");
  EXPECT_EQ(labels(0, 4.2e19, AxisScale::kLinear), "0 10¹⁹ 2×10¹⁹ 3×10¹⁹ 4×10¹⁹");
}

TEST(Ticks, LogarithmicOnesArePowersOfTenOrTheirMultiples) {
  EXPECT_EQ(labels(1e15, 1e21, AxisScale::kLog), "10¹⁵ 10¹⁶ 10¹⁷ 10¹⁸ 10¹⁹ 10²⁰ 10²¹");
  EXPECT_EQ(labels(1, 1e12, AxisScale::kLog, NumberStyle::kShort, 5), "1 1k 1M 1B 1T");
  EXPECT_EQ(labels(0.9, 120, AxisScale::kLog, NumberStyle::kPlain, 8), "1 2 5 10 20 50 100");
  EXPECT_EQ(labels(0.9, 120, AxisScale::kLog, NumberStyle::kPlain, 5), "1 3 10 30 100");
  // A range that holds no two of them has what a linear axis has.
  EXPECT_EQ(labels(2.11, 2.48, AxisScale::kLog, NumberStyle::kPlain, 4), "2.2 2.3 2.4");
}

TEST(Ticks, PowersOfTwo) {
  EXPECT_EQ(labels(1, 32768, AxisScale::kLog2, NumberStyle::kPlain, 6), "1 8 64 512 4096 32768");
  EXPECT_EQ(labels(100, 1100, AxisScale::kLog2, NumberStyle::kPlain, 6), "128 256 512 1024");
  EXPECT_EQ(make_ticks(1, 32768, AxisScale::kLog2, NumberStyle::kPlain, 6).size(), 16u);
}

TEST(Ticks, Numbers) {
  EXPECT_EQ(chart_number(0, NumberStyle::kPlain), "0");
  EXPECT_EQ(chart_number(0.25, NumberStyle::kPlain), "0.25");
  EXPECT_EQ(chart_number(9999.6, NumberStyle::kPlain), "10000");
  EXPECT_EQ(chart_number(123456, NumberStyle::kPlain), "123456");
  EXPECT_EQ(chart_number(-0.00012345, NumberStyle::kPlain), "−0.0001234");
  EXPECT_EQ(chart_number(2.5e-7, NumberStyle::kPlain), "2.5×10⁻⁷");
  EXPECT_EQ(chart_number(9.99996e22, NumberStyle::kPlain), "10²³");
  EXPECT_EQ(chart_number(124953600, NumberStyle::kShort), "125M");
  EXPECT_EQ(chart_number(999700, NumberStyle::kShort), "999.7k");
  EXPECT_EQ(chart_number(0.5, NumberStyle::kShort), "0.5");
  EXPECT_EQ(chart_number(NAN, NumberStyle::kPlain), "?");
  EXPECT_EQ(chart_number(-INFINITY, NumberStyle::kPlain), "−∞");
}

}  // namespace
}  // namespace ttt
