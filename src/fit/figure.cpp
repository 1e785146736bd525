#include "fit/figure.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "chart/ticks.h"

namespace ttt {
namespace {

const ChartAxis kFlopsAxis = {.label = "training FLOPs C", .scale = AxisScale::kLog};
const ChartAxis kParametersAxis = {.label = "parameters N", .scale = AxisScale::kLog, .numbers = NumberStyle::kShort};
const ChartAxis kTokensAxis = {.label = "tokens D", .scale = AxisScale::kLog, .numbers = NumberStyle::kShort};
const ChartAxis kLossAxis = {.label = "loss", .scale = AxisScale::kLog};

Chart panel(const std::string& title, const ChartAxis& x, const ChartAxis& y) {
  Chart chart;
  chart.title = title;
  chart.x = x;
  chart.y = y;
  chart.width = 560;
  chart.height = 380;
  return chart;
}

std::vector<double> column(const std::vector<ScalingPoint>& points, double ScalingPoint::*value) {
  std::vector<double> out;
  for (const ScalingPoint& point : points) out.push_back(point.*value);
  return out;
}

std::vector<std::string> places(const std::vector<ScalingPoint>& points) {
  std::vector<std::string> out;
  for (const ScalingPoint& point : points) out.push_back(point.place);
  return out;
}

ChartSeries scatter(const std::string& name, const std::vector<ScalingPoint>& points, double ScalingPoint::*x,
                    std::vector<double> y, int color) {
  return {.name = name,
          .x = column(points, x),
          .y = std::move(y),
          .notes = places(points),
          .style = SeriesStyle::kPoints,
          .color = color};
}

// So many values from low to high, evenly in their logarithms.
std::vector<double> steps(double low, double high, int count = 80) {
  std::vector<double> out;
  for (int i = 0; i < count; ++i) out.push_back(low * std::pow(high / low, static_cast<double>(i) / (count - 1)));
  return out;
}

// What follows from a law along the runs' budgets, with its interval.
ChartSeries along_budgets(const LawStudy& study, const std::string& name, double Allocation::*value, int color,
                          LineDash dash = LineDash::kSolid) {
  const DataRange c = range_of(study.points, &ScalingPoint::c);
  ChartSeries series = {.name = name, .x = steps(c.low, c.high), .y = {}, .dash = dash, .color = color};
  for (const double flops : series.x) {
    const double k = study.flops_per_parameter_token;
    series.y.push_back(compute_optimal(study.fit.law, flops, k).*value);
    if (const auto interval =
            study.interval([&](const ScalingLaw& law) { return compute_optimal(law, flops, k).*value; })) {
      series.low.push_back(interval->low);
      series.high.push_back(interval->high);
    }
  }
  return series;
}

std::string named(const std::string& name, const std::string& what) {
  return name.empty() ? what : name + ", " + what;
}

}  // namespace

ChartGrid law_figure(const std::vector<LawStudy>& studies) {
  Chart losses = panel("Loss and its compute-optimal fit", kFlopsAxis, kLossAxis);
  Chart optimum = panel("Compute-optimal parameters and tokens", kFlopsAxis,
                        {.label = "N, D", .scale = AxisScale::kLog, .numbers = NumberStyle::kShort});
  const ChartAxis off = {.label = "log L, observed − fitted"};
  Chart by_n = panel("Residuals by parameters", kParametersAxis, off);
  Chart by_d = panel("Residuals by tokens", kTokensAxis, off);
  Chart by_loss = panel("Residuals by loss", kLossAxis, off);
  Chart by_ratio = panel("Residuals by tokens a parameter", {.label = "D / N", .scale = AxisScale::kLog}, off);
  std::string note;
  for (std::size_t i = 0; i < studies.size(); ++i) {
    const LawStudy& study = studies[i];
    const int color = static_cast<int>(i);
    losses.series.push_back(scatter(named(study.name, "runs"), study.points, &ScalingPoint::c,
                                    column(study.points, &ScalingPoint::loss), color));
    if (!study.identified()) {
      note += (note.empty() ? "" : " ") + named(study.name, "not identified") + ": " + study.reasons.front() + ".";
      continue;
    }
    losses.series.push_back(along_budgets(study, named(study.name, "compute-optimal"), &Allocation::loss, color));
    optimum.series.push_back(along_budgets(study, named(study.name, "N"), &Allocation::n, color));
    optimum.series.push_back(along_budgets(study, named(study.name, "D"), &Allocation::d,
                                           studies.size() == 1 ? 1 : color, LineDash::kDashed));
    by_n.series.push_back(scatter(study.name, study.points, &ScalingPoint::n, study.residuals, color));
    by_d.series.push_back(scatter(study.name, study.points, &ScalingPoint::d, study.residuals, color));
    by_loss.series.push_back(scatter(study.name, study.points, &ScalingPoint::loss, study.residuals, color));
    ChartSeries ratios = scatter(study.name, study.points, &ScalingPoint::d, study.residuals, color);
    for (std::size_t j = 0; j < ratios.x.size(); ++j) ratios.x[j] /= study.points[j].n;
    by_ratio.series.push_back(std::move(ratios));
    if (!study.samples.empty() && note.find("Bands") == std::string::npos)
      note += cat(note.empty() ? "" : " ", "Bands: ", 100 * study.level, " % of ", study.samples.size(),
                  " bootstrap samples.");
  }
  losses.note = note;
  ChartGrid grid = {"L = E + A / N^α + B / D^β", {losses, optimum}, 2};
  for (Chart* chart : {&by_n, &by_d, &by_loss, &by_ratio}) {
    chart->marks.push_back({.axis = ChartMark::Axis::kY, .value = 0});
    grid.charts.push_back(*chart);
  }
  return grid;
}

ChartGrid optimum_figure(const std::vector<OptimumStudy>& studies) {
  const bool isoflop = !studies.empty() && !studies.front().curves.empty();
  ChartGrid grid = {isoflop ? "IsoFLOP curves" : "Envelope", {}, 2};
  for (const OptimumStudy& study : studies) {
    Chart losses = panel(named(study.name, isoflop ? "loss by parameters" : "loss by FLOPs"),
                         isoflop ? kParametersAxis : kFlopsAxis, kLossAxis);
    Chart best = panel(named(study.name, "best N by FLOPs"), kFlopsAxis, kParametersAxis);
    ChartSeries optima = {.name = isoflop ? "lowest points" : "the envelope",
                          .x = {},
                          .y = {},
                          .style = SeriesStyle::kPoints,
                          .color = isoflop ? 6 : 1};
    ChartSeries sizes = optima;
    for (std::size_t i = 0; i < study.curves.size(); ++i) {
      const IsoflopCurve& curve = study.curves[i];
      const int color = static_cast<int>(i) + (i >= 6);  // the seventh is that of the lowest points
      losses.series.push_back(scatter("C = " + chart_number(curve.c, NumberStyle::kPlain, 3), curve.points,
                                      &ScalingPoint::n, column(curve.points, &ScalingPoint::loss), color));
      if (!(curve.curvature > 0)) continue;
      const DataRange n = range_of(curve.points, &ScalingPoint::n);
      ChartSeries parabola = {.name = "", .x = steps(n.low, n.high), .y = {}, .color = color};
      if (!curve.dropped.empty()) parabola.dash = LineDash::kDotted;
      for (const double size : parabola.x) parabola.y.push_back(curve.loss(size));
      losses.series.push_back(std::move(parabola));
      if (!curve.dropped.empty()) continue;
      sizes.x.push_back(curve.best.n);
      sizes.y.push_back(curve.best.loss);
      optima.x.push_back(curve.c);
      optima.y.push_back(curve.best.n);
    }
    if (!isoflop) {
      losses.series.push_back(
          scatter("points", study.points, &ScalingPoint::c, column(study.points, &ScalingPoint::loss), 0));
      for (const EnvelopePoint& at : study.envelope) {
        sizes.x.push_back(at.point.c);
        sizes.y.push_back(at.point.loss);
        if (at.at_edge) continue;
        optima.x.push_back(at.point.c);
        optima.y.push_back(at.point.n);
      }
    }
    losses.series.push_back(sizes);
    best.series.push_back(optima);
    if (study.identified()) {
      const DataRange c = range_of(study.points, &ScalingPoint::c);
      ChartSeries line = {.name = "", .x = steps(c.low, c.high), .y = {}, .color = 0};
      line.name = cat("C^", chart_number(study.n.exponent, NumberStyle::kPlain, 3));
      for (const double flops : line.x) {
        line.y.push_back(study.n.at(flops));
        if (const auto interval = study.interval_at(true, flops)) {
          line.low.push_back(interval->low);
          line.high.push_back(interval->high);
        }
      }
      if (!line.low.empty())
        best.note = cat("Band: ", 100 * study.level, " % of ", study.n_samples.size(), " bootstrap samples.");
      best.series.insert(best.series.begin(), std::move(line));
    }
    std::string note;
    for (const auto* list : {&study.reasons, &study.warnings})
      for (const std::string& sentence : *list) note += sentence + ". ";
    losses.note = note;
    grid.charts.push_back(std::move(losses));
    grid.charts.push_back(std::move(best));
  }
  return grid;
}

}  // namespace ttt
