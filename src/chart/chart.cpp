#include "chart/chart.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <span>

#include "base/error.h"
#include "chart/svg.h"
#include "chart/ticks.h"

namespace ttt {
namespace {

constexpr double kTitleSize = 15, kTextSize = 12, kNoteSize = 11;
constexpr double kMargin = 14, kLineHeight = 1.35, kMarker = 3.4, kSwatch = 24;

// Okabe and Ito's colours. On dark ground the blue and the black are lighter; yellow is left out, which does not show
// on white.
struct Color {
  const char* light;
  const char* dark;
};
constexpr Color kColors[] = {{"#0072b2", "#3a96d8"}, {"#d55e00", "#e8762b"}, {"#009e73", "#22b78c"},
                             {"#cc79a7", "#d98fb8"}, {"#e69f00", "#e69f00"}, {"#56b4e9", "#8ccdf2"},
                             {"#444444", "#c8ccd0"}};
constexpr int kColorCount = static_cast<int>(std::size(kColors));

// What is no series: CSS class, and its colours.
struct Ground {
  const char* name;
  const char* light;
  const char* dark;
};
constexpr Ground kInk = {"ink", "#1a1c1f", "#e6e8ea"}, kDim = {"dim", "#5a6068", "#a3a9b0"},
                 kLines = {"lines", "#dfe2e6", "#33383f"}, kPage = {"page", "#ffffff", "#15181c"};

// class and colour: the attribute is for readers that do not know style sheets.
std::string colored(const Ground& ground) {
  return cat("class=\"", ground.name, "\" color=\"", ground.light, "\"");
}
std::string colored(int color) {
  return cat("class=\"s", color % kColorCount, "\" color=\"", kColors[color % kColorCount].light, "\"");
}

// Of all charts the same, so that several of them in one page do not disagree.
std::string style_sheet() {
  std::string out = "<style>@media screen and (prefers-color-scheme:dark){";
  for (const Ground& ground : {kInk, kDim, kLines, kPage})
    out += cat(".ttt-chart .", ground.name, "{color:", ground.dark, "}");
  for (int i = 0; i < kColorCount; ++i) out += cat(".ttt-chart .s", i, "{color:", kColors[i].dark, "}");
  return out + "}</style>\n";
}

std::string text_at(double x, double y, double size, const char* anchor, const std::string& text,
                    const std::string& attributes = "") {
  return cat("<text x=\"", pixels(x), "\" y=\"", pixels(y), "\" font-size=\"", size, "\" text-anchor=\"", anchor,
             "\" fill=\"currentColor\"", attributes.empty() ? "" : " ", attributes, ">", xml_escape(text), "</text>\n");
}

std::string line_between(double x0, double y0, double x1, double y1) {
  return cat("<path d=\"M", pixels(x0), " ", pixels(y0), "L", pixels(x1), " ", pixels(y1), "\"/>");
}

bool drawable(double value, AxisScale scale) {
  return std::isfinite(value) && (scale == AxisScale::kLinear || value > 0);
}

// An axis with its ends known: values to pixels.
class Ruler {
 public:
  // offset: pixels of the low end; length: signed pixels from there to the high end.
  Ruler(AxisScale scale, double low, double high, double offset, double length)
      : scale_(scale), low_(low), high_(high), offset_(offset), length_(length) {}
  double at(double value) const { return offset_ + length_ * (warp(value) - warp(low_)) / (warp(high_) - warp(low_)); }
  // Of the end of an interval, which may not be drawable: then it is the axis' own end.
  double at_clamped(double value, double otherwise) const { return at(drawable(value, scale_) ? value : otherwise); }
  double low() const { return low_; }
  double high() const { return high_; }
  AxisScale scale() const { return scale_; }

 private:
  double warp(double value) const { return scale_ == AxisScale::kLinear ? value : std::log(value); }
  AxisScale scale_;
  double low_, high_, offset_, length_;
};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value, AxisScale scale) {
    if (!drawable(value, scale)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

void check(const ChartSeries& series) {
  const auto fits = [&](std::size_t size, bool may_be_empty) {
    return size == series.x.size() || (may_be_empty && size == 0);
  };
  TTT_CHECK(fits(series.y.size(), false) && fits(series.low.size(), true) && fits(series.notes.size(), true) &&
                series.low.size() == series.high.size(),
            "series '", series.name, "' has ", series.x.size(), " x, ", series.y.size(), " y, ", series.low.size(),
            " low, ", series.high.size(), " high, ", series.notes.size(), " notes");
}

// What the axis spans: as asked, else the data with a little room on both sides.
Range range_of(const Chart& chart, bool is_x) {
  const ChartAxis& axis = is_x ? chart.x : chart.y;
  const bool log = axis.scale != AxisScale::kLinear;
  Range data;
  for (const ChartSeries& series : chart.series) {
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      if (!drawable(series.x[i], chart.x.scale) || !drawable(series.y[i], chart.y.scale)) continue;
      data.add(is_x ? series.x[i] : series.y[i], axis.scale);
      if (is_x || series.low.empty()) continue;
      data.add(series.low[i], axis.scale);
      data.add(series.high[i], axis.scale);
    }
  }
  for (const ChartMark& mark : chart.marks) {
    if ((mark.axis == ChartMark::Axis::kX) == is_x) data.add(mark.value, axis.scale);
  }
  if (data.low > data.high) data = log ? Range{1, 10} : Range{0, 1};
  const double room = is_x ? 0.02 : 0.05;
  if (log) {
    const double factor = data.low == data.high ? 2 : std::pow(data.high / data.low, room);
    data = {data.low / factor, data.high * factor};
  } else {
    const double span = data.high - data.low;
    const double beside = span > 0 ? span * room : data.low != 0 ? std::abs(data.low) * 0.1 : 1;
    data = {data.low - beside, data.high + beside};
  }
  const Range range = {axis.min.value_or(data.low), axis.max.value_or(data.high)};
  TTT_CHECK(range.low < range.high && std::isfinite(range.high - range.low) && (!log || range.low > 0), "the axis '",
            axis.label, "' goes from ", range.low, " to ", range.high);
  return range;
}

// The most ticks whose labels do not touch.
std::vector<Tick> ticks_that_fit(const Range& range, const ChartAxis& axis, double length, bool is_x) {
  std::vector<Tick> ticks;
  for (int count = std::max(2, static_cast<int>(length / (is_x ? 55 : 36))); count >= 2; --count) {
    ticks = make_ticks(range.low, range.high, axis.scale, axis.numbers, count);
    const Ruler ruler(axis.scale, range.low, range.high, 0, length);
    double free_from = -std::numeric_limits<double>::infinity();
    bool fit = true;
    for (const Tick& tick : ticks) {
      if (tick.label.empty()) continue;
      const double half = is_x ? text_width(tick.label, kTextSize) / 2 + 5 : kTextSize * 0.7;
      if (ruler.at(tick.value) - half < free_from) fit = false;
      free_from = ruler.at(tick.value) + half;
    }
    if (fit) break;
  }
  return ticks;
}

std::string axis_title(const ChartAxis& axis) {
  return axis.unit.empty() ? axis.label : axis.label.empty() ? axis.unit : axis.label + " (" + axis.unit + ")";
}

// --- markers and lines ---

std::string marker(int color, double x, double y) {
  const double r = kMarker;
  const auto polygon = [&](std::initializer_list<std::pair<double, double>> corners) {
    std::string d;
    for (const auto& [dx, dy] : corners) d += cat(d.empty() ? "M" : "L", pixels(x + dx), " ", pixels(y + dy));
    return cat("<path d=\"", d, "Z\"");
  };
  switch (color % kColorCount) {
    case 0:
      return cat("<circle cx=\"", pixels(x), "\" cy=\"", pixels(y), "\" r=\"", pixels(r), "\"");
    case 1:
      return polygon({{-r * .9, -r * .9}, {r * .9, -r * .9}, {r * .9, r * .9}, {-r * .9, r * .9}});
    case 2:
      return polygon({{0, -r * 1.3}, {r * 1.15, r * .8}, {-r * 1.15, r * .8}});
    case 3:
      return polygon({{0, -r * 1.35}, {r * 1.35, 0}, {0, r * 1.35}, {-r * 1.35, 0}});
    case 4:
      return polygon({{0, r * 1.3}, {r * 1.15, -r * .8}, {-r * 1.15, -r * .8}});
    case 5:
      return polygon({{-r * .45, -r * 1.2},
                      {r * .45, -r * 1.2},
                      {r * .45, -r * .45},
                      {r * 1.2, -r * .45},
                      {r * 1.2, r * .45},
                      {r * .45, r * .45},
                      {r * .45, r * 1.2},
                      {-r * .45, r * 1.2},
                      {-r * .45, r * .45},
                      {-r * 1.2, r * .45},
                      {-r * 1.2, -r * .45},
                      {-r * .45, -r * .45}});
    default:
      return polygon({{-r * 1.2, -r * .5}, {r * 1.2, -r * .5}, {r * 1.2, r * .5}, {-r * 1.2, r * .5}});
  }
}

std::string dash_attribute(const ChartSeries& series, int color) {
  const int turn = (static_cast<int>(series.dash) + color / kColorCount) % 3;  // the eighth colour is the first, dashed
  return turn == 0 ? "" : turn == 1 ? " stroke-dasharray=\"7 4\"" : " stroke-dasharray=\"1.5 3.5\"";
}

bool has_line(const ChartSeries& series) {
  return series.style != SeriesStyle::kPoints;
}
bool has_points(const ChartSeries& series) {
  return series.style != SeriesStyle::kLine;
}

struct Spot {
  double x, y, low, high;  // pixels; of the interval, low is below
};

// The parts of a series between its gaps, in pixels. Where several points share a column of half a pixel, the first,
// highest, lowest and last of them stand for all: a curve of a million steps looks the same.
std::vector<std::vector<Spot>> spots_of(const ChartSeries& series, const Ruler& x, const Ruler& y) {
  std::vector<std::vector<Spot>> runs(1);
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (!drawable(series.x[i], x.scale()) || !drawable(series.y[i], y.scale())) {
      if (!runs.back().empty()) runs.emplace_back();
      continue;
    }
    Spot spot = {x.at(series.x[i]), y.at(series.y[i]), 0, 0};
    if (!series.low.empty()) {
      spot.low = y.at_clamped(series.low[i], y.low());
      spot.high = y.at_clamped(series.high[i], y.high());
    }
    runs.back().push_back(spot);
  }
  if (runs.back().empty()) runs.pop_back();
  return runs;
}

std::vector<Spot> thinned(const std::vector<Spot>& run) {
  std::vector<Spot> out;
  for (std::size_t begin = 0; begin < run.size();) {
    const double column = std::floor(run[begin].x * 2);
    std::size_t end = begin + 1;
    while (end < run.size() && std::floor(run[end].x * 2) == column) ++end;
    const auto first = run.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = run.begin() + static_cast<std::ptrdiff_t>(end);
    if (end - begin <= 4) {
      out.insert(out.end(), first, last);
    } else {
      const auto [top, bottom] =
          std::minmax_element(first, last, [](const Spot& a, const Spot& b) { return a.y < b.y; });
      double low = first->low, high = first->high;
      for (auto spot = first; spot != last; ++spot) {
        low = std::max(low, spot->low);
        high = std::min(high, spot->high);
      }
      std::set<std::ptrdiff_t> kept = {0, top - first, bottom - first, last - first - 1};
      for (const std::ptrdiff_t i : kept) {
        Spot spot = first[i];
        spot.low = low;
        spot.high = high;
        out.push_back(spot);
      }
    }
    begin = end;
  }
  return out;
}

std::string band(const std::vector<Spot>& run) {
  std::string d;
  for (const Spot& spot : run) d += cat(d.empty() ? "M" : "L", pixels(spot.x), " ", pixels(spot.high));
  for (auto spot = run.rbegin(); spot != run.rend(); ++spot) d += cat("L", pixels(spot->x), " ", pixels(spot->low));
  return cat("<path d=\"", d, "Z\" fill=\"currentColor\" fill-opacity=\"0.18\" stroke=\"none\"/>\n");
}

std::string what_it_is(const Chart& chart, const ChartSeries& series, std::size_t i) {
  std::string text = series.name;
  if (!series.notes.empty() && !series.notes[i].empty()) text += (text.empty() ? "" : ": ") + series.notes[i];
  const auto value = [](const ChartAxis& axis, double number) {
    return cat(axis.label.empty() ? "" : axis.label + " ", chart_number(number, axis.numbers, 5),
               axis.unit.empty() ? "" : " " + axis.unit);
  };
  text += cat(text.empty() ? "" : "\n", value(chart.x, series.x[i]), "\n", value(chart.y, series.y[i]));
  if (!series.low.empty())
    text += cat(" [", chart_number(series.low[i], chart.y.numbers, 5), ", ",
                chart_number(series.high[i], chart.y.numbers, 5), "]");
  return text;
}

std::string draw_series(const Chart& chart, const ChartSeries& series, int color, const Ruler& x, const Ruler& y) {
  std::string out = cat("<g ", colored(color), " stroke-linejoin=\"round\" stroke-linecap=\"round\">\n");
  auto runs = spots_of(series, x, y);
  if (has_line(series)) {
    for (auto& run : runs) {
      run = thinned(run);
      if (!series.low.empty()) out += band(run);
    }
    for (const auto& run : runs) {
      std::string d;
      for (const Spot& spot : run) d += cat(d.empty() ? "M" : "L", pixels(spot.x), " ", pixels(spot.y));
      if (run.size() == 1) d += "h0.01";  // a lone point: a dot
      out += cat("<path d=\"", d, "\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\"",
                 dash_attribute(series, color), "/>\n");
    }
  } else if (!series.low.empty()) {
    std::string d;
    for (const auto& run : runs) {
      for (const Spot& spot : run)
        d += cat("M", pixels(spot.x - 3), " ", pixels(spot.low), "h6M", pixels(spot.x), " ", pixels(spot.low), "V",
                 pixels(spot.high), "M", pixels(spot.x - 3), " ", pixels(spot.high), "h6");
    }
    out += cat("<path d=\"", d, "\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.2\"/>\n");
  }
  if (has_points(series)) {
    out += "<g fill=\"currentColor\" fill-opacity=\"0.85\">\n";
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      if (!drawable(series.x[i], x.scale()) || !drawable(series.y[i], y.scale())) continue;
      out +=
          cat(marker(color, x.at(series.x[i]), y.at(series.y[i])), "><title>", xml_escape(what_it_is(chart, series, i)),
              "</title></", color % kColorCount == 0 ? "circle" : "path", ">\n");
    }
    out += "</g>\n";
  }
  return out + "</g>\n";
}

// --- legend ---

struct LegendEntry {
  const ChartSeries* series;
  int color;
  double x = 0, y = 0;  // the swatch's left end, its middle
};

// Rows of entries from (left, top) on, within `width`; returns the height that they take.
double place_legend(std::vector<LegendEntry>& entries, double left, double top, double width) {
  if (entries.empty()) return 0;
  const double row = kTextSize * 1.5;
  double x = left, y = top + row / 2;
  for (LegendEntry& entry : entries) {
    const double needed = kSwatch + 6 + text_width(entry.series->name, kTextSize);
    if (x > left && x + needed > left + width) {
      x = left;
      y += row;
    }
    entry.x = x;
    entry.y = y;
    x += needed + 18;
  }
  return y + row / 2 - top + 4;
}

std::string draw_legend(const std::vector<LegendEntry>& entries) {
  std::string out;
  for (const LegendEntry& entry : entries) {
    const ChartSeries& series = *entry.series;
    out += cat("<g ", colored(entry.color), ">");
    if (!series.low.empty() && has_line(series))
      out += cat("<rect x=\"", pixels(entry.x), "\" y=\"", pixels(entry.y - 6), "\" width=\"", kSwatch,
                 "\" height=\"12\" fill=\"currentColor\" fill-opacity=\"0.18\"/>");
    if (has_line(series))
      out +=
          cat("<path d=\"M", pixels(entry.x), " ", pixels(entry.y), "h", kSwatch,
              "\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\"", dash_attribute(series, entry.color), "/>");
    if (!series.low.empty() && !has_line(series))
      out += cat("<path d=\"M", pixels(entry.x + kSwatch / 2), " ", pixels(entry.y - 7),
                 "v14\" stroke=\"currentColor\" stroke-width=\"1.2\"/>");
    if (has_points(series)) out += marker(entry.color, entry.x + kSwatch / 2, entry.y) + " fill=\"currentColor\"/>";
    out += "</g>\n";
    out += cat("<g ", colored(kInk), ">",
               text_at(entry.x + kSwatch + 6, entry.y + kTextSize * 0.36, kTextSize, "start", series.name), "</g>\n");
  }
  return out;
}

// --- a chart ---

// A number for each series: its own, or the first that no other has.
std::vector<int> colors_of(const Chart& chart) {
  std::set<int> taken;
  for (const ChartSeries& series : chart.series) {
    if (series.color) taken.insert(std::max(0, *series.color));
  }
  std::vector<int> colors;
  int next = 0;
  for (const ChartSeries& series : chart.series) {
    if (series.color) {
      colors.push_back(std::max(0, *series.color));
      continue;
    }
    while (taken.contains(next)) ++next;
    colors.push_back(next++);
  }
  return colors;
}

std::string draw_grid_lines(const std::vector<Tick>& x_ticks, const std::vector<Tick>& y_ticks, const Ruler& x,
                            const Ruler& y, double width, double height) {
  std::string strong, faint;
  for (const Tick& tick : x_ticks)
    (tick.label.empty() ? faint : strong) += line_between(x.at(tick.value), 0, x.at(tick.value), height);
  for (const Tick& tick : y_ticks)
    (tick.label.empty() ? faint : strong) += line_between(0, y.at(tick.value), width, y.at(tick.value));
  return cat("<g ", colored(kLines), " stroke=\"currentColor\" stroke-width=\"1\">", strong,
             faint.empty() ? "" : "<g stroke-opacity=\"0.45\">", faint, faint.empty() ? "" : "</g>", "</g>\n");
}

std::string draw_marks(const Chart& chart, const Ruler& x, const Ruler& y, double width, double height) {
  std::string out;
  for (const ChartMark& mark : chart.marks) {
    const bool is_x = mark.axis == ChartMark::Axis::kX;
    if (!drawable(mark.value, is_x ? x.scale() : y.scale())) continue;
    const double at = is_x ? x.at(mark.value) : y.at(mark.value);
    out += is_x ? line_between(at, 0, at, height) : line_between(0, at, width, at);
    if (mark.label.empty()) continue;
    const bool to_the_left = is_x && at + 6 + text_width(mark.label, kNoteSize) > width;
    out += text_at(is_x ? (to_the_left ? at - 5 : at + 5) : width - 5, is_x ? kNoteSize + 2 : at - 4, kNoteSize,
                   is_x && !to_the_left ? "start" : "end", mark.label, "stroke=\"none\"");
  }
  if (out.empty()) return "";
  return cat("<g ", colored(kDim), " stroke=\"currentColor\" stroke-width=\"1.2\" stroke-dasharray=\"4 3\">", out,
             "</g>\n");
}

std::string lines_of_text(const std::vector<std::string>& lines, double x, double top, double size,
                          const std::string& attributes = "") {
  std::string out;
  for (std::size_t i = 0; i < lines.size(); ++i)
    out += text_at(x, top + size + static_cast<double>(i) * size * kLineHeight, size, "start", lines[i], attributes);
  return out;
}

double height_of(const std::vector<std::string>& lines, double size) {
  return static_cast<double>(lines.size()) * size * kLineHeight;
}

// Everything of a chart but the <svg> around it, from (0, 0) on.
std::string draw(const Chart& chart) {
  for (const ChartSeries& series : chart.series) check(series);
  const std::vector<int> colors = colors_of(chart);
  const Range x_range = range_of(chart, true), y_range = range_of(chart, false);

  // From the outside in: title, legend, note, then the axes' own texts.
  const double inner = chart.width - 2 * kMargin;
  const auto title = wrap_text(chart.title, kTitleSize * 1.06, inner);  // set in bold
  const auto note = wrap_text(chart.note, kNoteSize, inner);
  double top = kMargin + (title.empty() ? 0 : height_of(title, kTitleSize) + 4);
  std::vector<LegendEntry> legend;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    if (!chart.series[i].name.empty()) legend.push_back({&chart.series[i], colors[i]});
  }
  top += place_legend(legend, kMargin, top, inner) + 6;
  const std::string x_title = axis_title(chart.x), y_title = axis_title(chart.y);
  const double below = (note.empty() ? 0 : height_of(note, kNoteSize) + 8) + kMargin - 4;
  const double bottom = chart.height - below - (x_title.empty() ? 0 : kTextSize * 1.5) - kTextSize * 1.6;
  const double height = std::max(bottom - top, 20.0);

  const std::vector<Tick> y_ticks = ticks_that_fit(y_range, chart.y, height, false);
  double label_width = 0;
  for (const Tick& tick : y_ticks) label_width = std::max(label_width, text_width(tick.label, kTextSize));
  const double left = kMargin + (y_title.empty() ? 0 : kTextSize * 1.6) + label_width + 8;
  const double width = std::max(chart.width - left - kMargin - 8, 20.0);
  const std::vector<Tick> x_ticks = ticks_that_fit(x_range, chart.x, width, true);

  const Ruler x(chart.x.scale, x_range.low, x_range.high, 0, width);
  const Ruler y(chart.y.scale, y_range.low, y_range.high, height, -height);

  std::string out = cat("<g ", colored(kInk), ">",
                        lines_of_text(title, kMargin, kMargin - 2, kTitleSize, "font-weight=\"600\""), "</g>\n");
  out += draw_legend(legend);
  // Cut off at the plot's edges: what an <svg> inside an <svg> does, without a name that the page might have twice.
  out += cat("<svg x=\"", pixels(left), "\" y=\"", pixels(top), "\" width=\"", pixels(width), "\" height=\"",
             pixels(height), "\" overflow=\"hidden\">\n");
  out += draw_grid_lines(x_ticks, y_ticks, x, y, width, height);
  out += draw_marks(chart, x, y, width, height);
  bool any = false;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    any = any || !spots_of(chart.series[i], x, y).empty();
    out += draw_series(chart, chart.series[i], colors[i], x, y);
  }
  if (!any)
    out += cat("<g ", colored(kDim), ">", text_at(width / 2, height / 2, kTextSize, "middle", "no data"), "</g>\n");
  out += "</svg>\n";

  out += cat("<g ", colored(kDim), ">\n<path d=\"M", pixels(left), " ", pixels(top), "v", pixels(height), "h",
             pixels(width), "\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1\"/>\n");
  for (const Tick& tick : x_ticks) {
    if (!tick.label.empty())
      out += text_at(left + x.at(tick.value), top + height + kTextSize * 1.4, kTextSize, "middle", tick.label);
  }
  for (const Tick& tick : y_ticks) {
    if (!tick.label.empty())
      out += text_at(left - 8, top + y.at(tick.value) + kTextSize * 0.36, kTextSize, "end", tick.label);
  }
  out += lines_of_text(note, kMargin, chart.height - below + 4, kNoteSize);
  out += "</g>\n";

  out += cat("<g ", colored(kInk), ">\n");
  if (!x_title.empty()) out += text_at(left + width / 2, top + height + kTextSize * 2.9, kTextSize, "middle", x_title);
  if (!y_title.empty()) {
    const double across = kMargin + kTextSize * 0.8, down = top + height / 2;
    out += text_at(across, down, kTextSize, "middle", y_title,
                   cat("transform=\"rotate(-90 ", pixels(across), " ", pixels(down), ")\""));
  }
  return out + "</g>\n";
}

std::string wrap_svg(double width, double height, const std::string& name, const std::string& content) {
  return cat("<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"ttt-chart\" role=\"img\" aria-label=\"",
             xml_escape(name), "\" width=\"", pixels(width), "\" height=\"", pixels(height), "\" viewBox=\"0 0 ",
             pixels(width), " ", pixels(height),
             "\" style=\"max-width:100%;height:auto\" font-family=\"system-ui, 'Segoe UI', Roboto, 'Liberation Sans', "
             "'DejaVu Sans', sans-serif\">\n",
             style_sheet(), "<rect ", colored(kPage), " width=\"100%\" height=\"100%\" fill=\"currentColor\"/>\n",
             content, "</svg>\n");
}

}  // namespace

std::string to_svg(const Chart& chart) {
  return wrap_svg(chart.width, chart.height, chart.title, draw(chart));
}

std::string to_svg(const ChartGrid& grid) {
  TTT_CHECK(grid.columns > 0, "a grid of ", grid.columns, " columns");
  const auto columns = static_cast<std::size_t>(grid.columns);
  std::vector<double> widths, heights;
  for (std::size_t i = 0; i < grid.charts.size(); ++i) {
    const std::size_t row = i / columns, column = i % columns;
    widths.resize(std::max(widths.size(), column + 1));
    heights.resize(std::max(heights.size(), row + 1));
    widths[column] = std::max(widths[column], grid.charts[i].width);
    heights[row] = std::max(heights[row], grid.charts[i].height);
  }
  double width = 0;
  for (const double w : widths) width += w;
  const double size = kTitleSize * 1.15;
  const auto title = wrap_text(grid.title, size * 1.06, width - 2 * kMargin);
  double y = title.empty() ? 0 : kMargin + height_of(title, size);
  std::string content =
      cat("<g ", colored(kInk), ">", lines_of_text(title, kMargin, kMargin - 2, size, "font-weight=\"600\""), "</g>\n");
  for (std::size_t row = 0; row < heights.size(); ++row) {
    double x = 0;
    for (std::size_t column = 0; column < columns && row * columns + column < grid.charts.size(); ++column) {
      content += cat("<g transform=\"translate(", pixels(x), " ", pixels(y), ")\">\n",
                     draw(grid.charts[row * columns + column]), "</g>\n");
      x += widths[column];
    }
    y += heights[row];
  }
  return wrap_svg(width, y, grid.title, content);
}

std::string to_csv(const Chart& chart) {
  const auto number = [](double value) {
    char text[32];
    return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
  };
  const auto quoted = [](const std::string& text) {
    if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
    std::string out = "\"";
    for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
    return out + "\"";
  };
  std::string out = "series,x,y,low,high\n";
  for (const ChartSeries& series : chart.series) {
    check(series);
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      out += cat(quoted(series.name), ",", number(series.x[i]), ",", number(series.y[i]), ",");
      out += series.low.empty() ? "," : cat(number(series.low[i]), ",", number(series.high[i]));
      out += "\n";
    }
  }
  return out;
}

}  // namespace ttt
