// Charts as SVG: lines, points and intervals over linear and logarithmic axes.
//
//     Chart chart;
//     chart.title = "Loss by position";
//     chart.x = {.label = "position", .unit = "tokens", .scale = AxisScale::kLog2};
//     chart.y = {.label = "loss", .unit = "nats"};
//     chart.series.push_back({.name = "TTT-Linear", .x = position, .y = loss, .low = low, .high = high});
//     chart.note = "Bands: 95 % of 200 bootstrap samples of the documents.";
//     write_file_atomically("loss.svg", to_svg(chart));
//
// What comes out is one <svg> element that needs nothing outside it: it stands as a file of its own, or inside an HTML
// page beside others. Its colours (Okabe and Ito, 2008) are told apart by colour-blind readers and have a marker each;
// they follow the reader's light or dark scheme and are the light ones on paper. Points say their numbers when pointed
// at. The same chart gives the same bytes, in any locale.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace ttt {

enum class AxisScale {
  kLinear,
  kLog,   // ticks at powers of ten, or between them where the range is short
  kLog2,  // ticks at powers of two: positions, batch and context sizes
};

enum class NumberStyle {
  kPlain,  // 0.25, 1500, 3×10²⁰
  kShort,  // 0.25, 1.5k, 125M, 300B: parameters, tokens
};

struct ChartAxis {
  std::string label = {};
  std::string unit = {};  // "label (unit)"; empty: the label alone
  AxisScale scale = AxisScale::kLinear;
  NumberStyle numbers = NumberStyle::kPlain;
  // The ends of the axis; by default what the data needs, and a little room beside it. What lies outside is cut off.
  std::optional<double> min = std::nullopt, max = std::nullopt;
};

enum class SeriesStyle { kLine, kPoints, kLineAndPoints };
enum class LineDash { kSolid, kDashed, kDotted };

// y over x, in the order given. A value that is not finite, or not above zero on a logarithmic axis, is not drawn: the
// line has a gap there.
struct ChartSeries {
  std::string name = {};  // in the legend; empty: not there
  std::vector<double> x = {}, y = {};
  // An interval around each y, both empty or both of its size: a band along a line, bars at points.
  std::vector<double> low = {}, high = {};
  std::vector<std::string> notes = {};  // what a point is, said when it is pointed at; empty or of y's size
  SeriesStyle style = SeriesStyle::kLine;
  LineDash dash = LineDash::kSolid;
  // Series of one number, 0 and up, have one colour and marker: a fit and its points. By default the first that no
  // other series has.
  std::optional<int> color = std::nullopt;
};

// A straight line across the whole chart at one value of an axis: zero, a training context, a resumed step.
struct ChartMark {
  enum class Axis { kX, kY };
  Axis axis = Axis::kX;
  double value = 0;
  std::string label = {};  // beside it; empty: none
};

struct Chart {
  std::string title = {};
  ChartAxis x = {}, y = {};
  std::vector<ChartSeries> series = {};
  std::vector<ChartMark> marks = {};
  std::string note = {};             // small, below: what bands and bars are, where the numbers come from
  double width = 720, height = 430;  // in pixels of CSS (96 to an inch)
};

// One <svg> element, UTF-8 (bytes that are not become U+FFFD), ending in a line feed. Throws Error for series whose
// vectors differ in size, and for an axis whose ends are not in order or not above zero where they must be.
std::string to_svg(const Chart& chart);

// The numbers of its series: a line of names, then series,x,y,low,high for each point (RFC 4180; low and high are empty
// without intervals).
std::string to_csv(const Chart& chart);

// Several charts in one <svg>, row by row in so many columns, each of its own size.
struct ChartGrid {
  std::string title = {};
  std::vector<Chart> charts = {};
  int columns = 2;
};
std::string to_svg(const ChartGrid& grid);

}  // namespace ttt
