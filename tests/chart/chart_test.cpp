// Charts: well-formed SVG, points where their numbers are, gaps, intervals, escaped text.
#include "chart/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "base/error.h"
#include "chart/svg.h"

namespace ttt {
namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++found;
  return found;
}

// "" for XML whose elements close in order and whose attributes are in quotes, else what is wrong.
std::string xml_mistake(const std::string& text) {
  std::vector<std::string> open;
  std::size_t at = 0;
  while (at < text.size()) {
    if (text[at] == '&') {
      static const std::regex entity("^&(amp|lt|gt|quot);");
      if (!std::regex_search(text.substr(at, 8), entity)) return "a bare &: " + text.substr(at, 20);
      ++at;
      continue;
    }
    if (text[at] != '<') {
      ++at;
      continue;
    }
    const std::size_t end = text.find('>', at);
    if (end == std::string::npos) return "no >";
    const std::string tag = text.substr(at + 1, end - at - 1);
    at = end + 1;
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return "unexpected <" + tag + ">";
      open.pop_back();
      continue;
    }
    static const std::regex element(R"(([a-z]+)(\s+[-a-zA-Z]+="[^"<]*")*\s*/?)");
    std::smatch match;
    if (!std::regex_match(tag, match, element)) return "not an element: <" + tag + ">";
    if (!tag.ends_with('/')) open.push_back(match[1]);
  }
  return open.empty() ? "" : "left open: " + open.back();
}

// Centres of the circles, the marker of the first colour, inside the plot.
std::vector<std::pair<double, double>> circles(const std::string& svg) {
  static const std::regex circle(R"re(<circle cx="([-0-9.e]+)" cy="([-0-9.e]+)" r="[0-9.]+"><title>)re");
  std::vector<std::pair<double, double>> out;
  for (std::sregex_iterator i(svg.begin(), svg.end(), circle), end; i != end; ++i)
    out.emplace_back(std::stod((*i)[1]), std::stod((*i)[2]));
  return out;
}

Chart points(std::vector<double> x, std::vector<double> y) {
  Chart chart;
  chart.title = "points";
  chart.series.push_back({.name = "p", .x = std::move(x), .y = std::move(y), .style = SeriesStyle::kPoints});
  return chart;
}

TEST(Chart, PointsAreWhereTheirNumbersAre) {
  Chart chart = points({0, 5, 10}, {0, 1, 4});
  chart.x.min = 0, chart.x.max = 10, chart.y.min = 0, chart.y.max = 4;
  const std::string svg = to_svg(chart);
  const auto at = circles(svg);
  ASSERT_EQ(at.size(), 3u);
  std::smatch plot;
  static const std::regex inner(R"re(<svg x="[0-9.]+" y="[0-9.]+" width="([0-9.]+)" height="([0-9.]+)")re");
  ASSERT_TRUE(std::regex_search(svg, plot, inner));
  const double width = std::stod(plot[1]), height = std::stod(plot[2]);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(at[i].first, width * chart.series[0].x[i] / 10, 0.02);
    EXPECT_NEAR(at[i].second, height * (1 - chart.series[0].y[i] / 4), 0.02);
  }
  EXPECT_EQ(xml_mistake(svg), "");
  EXPECT_EQ(svg, to_svg(chart));
}

TEST(Chart, LogarithmicAxesAndWhatTheyCannotShow) {
  Chart chart = points({1, 10, 100, 0, -3, NAN, 1000}, {1, 2, 3, 4, 5, 6, INFINITY});
  chart.x.scale = AxisScale::kLog;
  const auto at = circles(to_svg(chart));
  ASSERT_EQ(at.size(), 3u);
  EXPECT_NEAR(at[1].first - at[0].first, at[2].first - at[1].first, 0.02);
}

TEST(Chart, GapsSplitLines) {
  Chart chart;
  chart.series.push_back({.name = "", .x = {1, 2, 3, 4, 5}, .y = {1, 2, NAN, 2, 1}});
  EXPECT_EQ(count(to_svg(chart), "stroke-width=\"2\""), 2u);
  chart.series[0].y[2] = 1;
  EXPECT_EQ(count(to_svg(chart), "stroke-width=\"2\""), 1u);
}

TEST(Chart, IntervalsAreBandsAlongLinesAndBarsAtPoints) {
  Chart chart;
  chart.series.push_back({.name = "", .x = {1, 2}, .y = {3, 4}, .low = {2, 3}, .high = {4, 5}});
  EXPECT_EQ(count(to_svg(chart), "fill-opacity=\"0.18\""), 1u);
  chart.series[0].style = SeriesStyle::kPoints;
  const std::string svg = to_svg(chart);
  EXPECT_EQ(count(svg, "fill-opacity=\"0.18\""), 0u);
  EXPECT_EQ(count(svg, "V") - count(svg, "DejaVu"), 2u);
  EXPECT_NE(svg.find("[2, 4]"), std::string::npos);
  // The axis holds the intervals; one that goes below zero reaches the end of a logarithmic axis.
  chart.y.scale = AxisScale::kLog;
  chart.series[0].low[0] = -1;
  EXPECT_EQ(xml_mistake(to_svg(chart)), "");
}

TEST(Chart, TextIsEscaped) {
  Chart chart = points({1}, {1});
  chart.title = "a < b & \"c\" \x01\xff";
  chart.series[0].name = "<script>";
  chart.series[0].notes = {"x > y"};
  chart.note = "100 % of <them>";
  chart.marks.push_back({.axis = ChartMark::Axis::kX, .value = 1, .label = "</svg>"});
  const std::string svg = to_svg(chart);
  EXPECT_EQ(xml_mistake(svg), "");
  EXPECT_NE(svg.find("a &lt; b &amp; &quot;c&quot; \xef\xbf\xbd"), std::string::npos);
  EXPECT_EQ(count(svg, "<script>"), 0u);
  EXPECT_EQ(count(svg, "</svg>"), 2u);
}

TEST(Chart, LongCurvesAreThinnedAndKeepTheirPeaks) {
  Chart chart;
  ChartSeries curve = {.name = "curve", .x = {}, .y = {}};
  for (int i = 0; i < 200000; ++i) {
    curve.x.push_back(i);
    curve.y.push_back(i == 123456 ? 9.0 : std::sin(i * 0.01));
  }
  chart.series.push_back(curve);
  chart.y.min = -1, chart.y.max = 9;
  const std::string svg = to_svg(chart);
  EXPECT_LT(svg.size(), 100000u);
  EXPECT_NE(svg.find(" 0L"), std::string::npos);  // the peak is at the upper edge
}

TEST(Chart, ColorsAreTheFirstFreeOnesOrShared) {
  Chart chart;
  for (int i = 0; i < 3; ++i) chart.series.push_back({.name = "s", .x = {1, 2}, .y = {1, 2}});
  chart.series[0].color = 1;
  chart.series[1].color = 1;
  const std::string svg = to_svg(chart);
  EXPECT_EQ(count(svg, "class=\"s1\""), 4u);  // line and legend each
  EXPECT_EQ(count(svg, "class=\"s0\""), 2u);
}

TEST(Chart, EmptyConstantAndManySeries) {
  Chart chart;
  EXPECT_NE(to_svg(chart).find("no data"), std::string::npos);
  EXPECT_EQ(circles(to_svg(points({2}, {7}))).size(), 1u);
  EXPECT_EQ(circles(to_svg(points({0, 0}, {0, 0}))).size(), 2u);
  for (int i = 0; i < 20; ++i)
    chart.series.push_back({.name = cat("a series with a long name, number ", i),
                            .x = {1, 2},
                            .y = {1.0 * i, 2},
                            .style = SeriesStyle::kLineAndPoints});
  EXPECT_EQ(xml_mistake(to_svg(chart)), "");
  EXPECT_EQ(xml_mistake(to_svg(ChartGrid{"two", {chart, points({1}, {1}), chart}, 2})), "");
}

TEST(Chart, MistakesOfTheCallerAreErrors) {
  Chart chart = points({1, 2}, {1});
  EXPECT_THROW(to_svg(chart), Error);
  chart = points({1, 2}, {1, 2});
  chart.series[0].low = {0, 1};
  EXPECT_THROW(to_svg(chart), Error);
  chart = points({1, 2}, {1, 2});
  chart.y.min = 3, chart.y.max = 2;
  EXPECT_THROW(to_svg(chart), Error);
  chart = points({1, 2}, {1, 2});
  chart.y.scale = AxisScale::kLog;
  chart.y.min = 0;
  EXPECT_THROW(to_svg(chart), Error);
}

TEST(Svg, TextIsWrappedAtBlanks) {
  EXPECT_EQ(wrap_text("one two three", 10, 1000), std::vector<std::string>{"one two three"});
  EXPECT_EQ(wrap_text("one two three", 10, 30), (std::vector<std::string>{"one", "two", "three"}));
  EXPECT_TRUE(wrap_text("", 10, 30).empty());
  EXPECT_GT(text_width("WWW", 12), text_width("iii", 12));
  EXPECT_EQ(pixels(1.005e-9), "0");
  EXPECT_EQ(pixels(-0.001), "0");
  EXPECT_EQ(pixels(12.3456), "12.35");
}

}  // namespace
}  // namespace ttt
