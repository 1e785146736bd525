#include "report/positions.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/error.h"
#include "chart/svg.h"
#include "report/html.h"

namespace ttt {
namespace {

// Of inner losses: more of either would make the page too long to read.
constexpr std::size_t kInnerRuns = 4, kInnerLayers = 24;

std::string metrics_of(const RunLog& run) {
  return (run.folder / "metrics.jsonl").string();
}

Chart position_chart(const std::string& domain, const std::vector<RunLog>& runs) {
  Chart chart;
  chart.title = domain.empty() ? "Loss by position" : "Loss by position on " + domain;
  chart.x = {.label = "position", .unit = "tokens read", .scale = AxisScale::kLog2};
  chart.y = {.label = "loss", .unit = "nats"};
  chart.width = 570;
  chart.height = 400;
  std::vector<std::string> intervals;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (const PositionCurve& curve : runs[i].positions) {
      if (curve.domain != domain) continue;
      ChartSeries series;
      series.name = cat(runs[i].name, ", step ", curve.step);
      series.color = static_cast<int>(i);
      for (const PositionBucket& bucket : curve.buckets) {
        series.x.push_back(bucket.to);
        series.y.push_back(bucket.loss);
        series.low.push_back(bucket.low);
        series.high.push_back(bucket.high);
      }
      chart.series.push_back(std::move(series));
      if (!curve.intervals.empty() && std::find(intervals.begin(), intervals.end(), curve.intervals) == intervals.end())
        intervals.push_back(curve.intervals);
    }
  }
  if (!intervals.empty()) chart.note = "Bands: " + joined(intervals) + ".";
  return chart;
}

Chart inner_chart(const RunLog& run, const InnerLosses& losses) {
  Chart chart;
  chart.title = cat(run.name, ", layer ", losses.layer, ", step ", losses.step);
  chart.x = {.label = "position", .unit = "tokens", .scale = AxisScale::kLog2};
  chart.y = {.label = "inner loss"};
  chart.width = 570;
  chart.height = 300;
  std::vector<double> position;  // the last of each mini-batch
  for (std::size_t i = 1; i <= losses.before.size(); ++i) {
    const std::int64_t last = static_cast<std::int64_t>(i) * run.config.model.mini_batch_size;
    position.push_back(static_cast<double>(std::min(last, run.config.train.context)));
  }
  chart.series.push_back({.name = "at W0", .x = position, .y = losses.at_w0});
  chart.series.push_back({.name = "before its step, at W t-1", .x = position, .y = losses.before});
  chart.series.push_back({.name = "after it, at W t", .x = position, .y = losses.after});
  return chart;
}

}  // namespace

std::string positions_section(const std::vector<RunLog>& runs, std::vector<Figure>& figures) {
  std::vector<std::string> domains, files, without;
  for (const RunLog& run : runs) {
    if (run.positions.empty()) {
      without.push_back(run.name);
    } else {
      files.push_back(metrics_of(run));
    }
    for (const PositionCurve& curve : run.positions)
      if (std::find(domains.begin(), domains.end(), curve.domain) == domains.end()) domains.push_back(curve.domain);
  }
  const std::string missing = without.empty()
                                  ? ""
                                  : html_note(cat("Not shown, since their metrics.jsonl has no line position_loss ",
                                                  "(train.position_loss_every): ", joined(without), "."));
  if (domains.empty()) return "<h2>Loss by position</h2>\n" + missing;
  ChartGrid grid;
  for (const std::string& domain : domains) {
    grid.charts.push_back(position_chart(domain, runs));
    figures.push_back(
        {domain.empty() ? "loss_by_position" : "loss_by_position_" + figure_name(domain), grid.charts.back()});
  }
  return "<h2>Loss by position</h2>\n" + to_svg(grid) +
         html_note(from_files(files) +
                   " The last line position_loss of each run; a point is a bucket's last position.") +
         missing;
}

std::string inner_losses_section(const std::vector<RunLog>& runs, std::vector<Figure>& figures) {
  std::vector<std::string> files, without, left_out;
  ChartGrid grid;
  for (const RunLog& run : runs) {
    if (run.inner.empty()) {
      if (run.config.model.has_ttt()) without.push_back(run.name);
      continue;
    }
    if (files.size() == kInnerRuns) {
      left_out.push_back(run.name);
      continue;
    }
    files.push_back(metrics_of(run));
    for (std::size_t i = 0; i < std::min(run.inner.size(), kInnerLayers); ++i) {
      grid.charts.push_back(inner_chart(run, run.inner[i]));
      figures.push_back({cat("inner_loss_", figure_name(run.name), "_layer_", run.inner[i].layer), grid.charts.back()});
    }
    if (run.inner.size() > kInnerLayers) left_out.push_back(cat(run.name, " beyond ", kInnerLayers, " layers"));
  }
  std::string out;
  if (!grid.charts.empty())
    out += to_svg(grid) +
           html_note(from_files(files) + " The last step with lines inner_loop of each run, of its first sequences.");
  if (!left_out.empty()) out += html_note("Left out, for the length of the page: " + joined(left_out) + ".");
  if (!without.empty())
    out += html_note(
        cat("Not shown, since their metrics.jsonl has no line inner_loop (train.stats_every): ", joined(without), "."));
  return out.empty() ? "" : "<h2>Inner losses</h2>\n" + out;
}

}  // namespace ttt
