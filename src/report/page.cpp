#include "report/page.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/hash.h"
#include "chart/chart.h"
#include "chart/svg.h"
#include "chart/ticks.h"
#include "config/load.h"
#include "plan/plan.h"

namespace ttt {
namespace {

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--ink:#1a1c1f;--dim:#5a6068;--page:#fff;--line:#dfe2e6}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6e8ea;--dim:#a3a9b0;--page:#15181c;--line:#33383f}}
body{font:15px/1.45 system-ui,'Segoe UI',Roboto,'Liberation Sans','DejaVu Sans',sans-serif;color:var(--ink);background:var(--page);max-width:1180px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:.5em 0 1.5em;display:block;overflow-x:auto}
th,td{text-align:right;padding:.25em .8em;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums;white-space:nowrap}
th:first-child,td:first-child,td.text{text-align:left}
th{color:var(--dim);font-weight:600}
p.note{color:var(--dim);font-size:13px}
)";

using Row = std::vector<std::string>;

std::string table(const Row& header, const std::vector<Row>& rows) {
  std::string out = "<table>\n<tr>";
  for (const std::string& cell : header) out += "<th>" + xml_escape(cell) + "</th>";
  out += "</tr>\n";
  for (const Row& row : rows) {
    out += "<tr>";
    for (const std::string& cell : row) out += "<td>" + xml_escape(cell) + "</td>";
    out += "</tr>\n";
  }
  return out + "</table>\n";
}

std::string plain(double value, int digits = 5) {
  return std::isfinite(value) ? chart_number(value, NumberStyle::kPlain, digits) : "-";
}
std::string brief(double value) {
  return std::isfinite(value) ? chart_number(value, NumberStyle::kShort, 3) : "-";
}

double median_speed(const RunLog& run) {
  std::vector<double> speeds;
  for (const TrainStep& step : run.train) speeds.push_back(step.tokens_per_second);
  if (speeds.empty()) return NAN;
  std::nth_element(speeds.begin(), speeds.begin() + static_cast<std::ptrdiff_t>(speeds.size() / 2), speeds.end());
  return speeds[speeds.size() / 2];
}

std::string summary(const std::vector<RunLog>& runs) {
  std::vector<Row> rows;
  for (const RunLog& run : runs) {
    const Plan plan = make_plan(run.config);
    const TrainStep last = run.train.empty() ? TrainStep{} : run.train.back();
    rows.push_back({run.name, to_string(run.config.model.mixer), brief(static_cast<double>(plan.parameters.total)),
                    cat(last.step, " of ", plan.steps), brief(last.tokens), plain(plan.training.exact * last.tokens, 3),
                    run.train.empty() ? "-" : plain(last.loss), run.valid.empty() ? "-" : plain(run.valid.back().loss),
                    run.valid.empty() || !run.valid.back().bits_per_byte ? "-" : plain(*run.valid.back().bits_per_byte),
                    brief(median_speed(run)), cat(run.events.size())});
  }
  return "<h2>Runs</h2>\n" +
         table({"run", "mixer", "parameters", "steps", "tokens", "FLOPs", "last training loss", "last validation loss",
                "bits/byte", "tokens/s (median)", "events"},
               rows) +
         "<p class=\"note\">FLOPs: exact products, 3 x forward. Losses are nats a token; the training loss is that of "
         "the last step's batch.</p>\n";
}

std::string differences(const std::vector<RunLog>& runs) {
  if (runs.size() < 2) return "";
  std::vector<std::pair<std::string, Row>> keys;  // key, value of each run
  for (std::size_t i = 1; i < runs.size(); ++i) {
    for (const FieldDifference& field : diff(runs[0].config, runs[i].config)) {
      if (field.key == "output_dir") continue;
      auto key = std::find_if(keys.begin(), keys.end(), [&](const auto& k) { return k.first == field.key; });
      if (key == keys.end()) key = keys.insert(keys.end(), {field.key, Row(runs.size(), field.a)});
      key->second[i] = field.b;
    }
  }
  if (keys.empty()) return "<h2>Configs</h2>\n<p>The runs' configs are the same but for output_dir.</p>\n";
  Row header = {"key"};
  for (const RunLog& run : runs) header.push_back(run.name);
  std::vector<Row> rows;
  for (const auto& [key, values] : keys) {
    Row row = {key};
    row.insert(row.end(), values.begin(), values.end());
    rows.push_back(std::move(row));
  }
  return "<h2>Where the configs differ</h2>\n" + table(header, rows);
}

Chart panel(const std::string& title, const ChartAxis& x, const ChartAxis& y) {
  Chart chart = {.title = title, .x = x, .y = y};
  chart.width = 570;
  chart.height = 380;
  return chart;
}

ChartSeries curve(const RunLog& run, int color, const std::function<double(const TrainStep&)>& x,
                  const std::function<double(const TrainStep&)>& y) {
  ChartSeries series = {.name = run.name, .color = color};
  for (const TrainStep& step : run.train) {
    series.x.push_back(x(step));
    series.y.push_back(y(step));
  }
  return series;
}

std::string charts(const std::vector<RunLog>& runs) {
  const ChartAxis tokens = {.label = "tokens", .numbers = NumberStyle::kShort},
                  loss = {.label = "loss", .unit = "nats"};
  Chart by_tokens = panel("Training loss by tokens", tokens, loss);
  Chart valid = panel("Validation loss by tokens", tokens, loss);
  Chart by_flops = panel("Training loss by FLOPs", {.label = "FLOPs, exact products"}, loss);
  Chart by_time = panel("Training loss by time", {.label = "time in steps", .unit = "s"}, loss);
  Chart rate = panel("Learning rate", {.label = "step"}, {.label = "learning rate"});
  Chart speed = panel("Throughput", {.label = "step"}, {.label = "tokens a second", .numbers = NumberStyle::kShort});
  Chart norm = panel("Gradient norm before clipping", {.label = "step"}, {.label = "norm", .scale = AxisScale::kLog});
  const auto step_number = [](const TrainStep& s) { return static_cast<double>(s.step); };
  const auto loss_of = [](const TrainStep& s) { return s.loss; };
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const RunLog& run = runs[i];
    const int color = static_cast<int>(i);
    const double flops = make_plan(run.config).training.exact;
    by_tokens.series.push_back(curve(
        run, color, [](const TrainStep& s) { return s.tokens; }, loss_of));
    by_flops.series.push_back(curve(
        run, color, [&](const TrainStep& s) { return flops * s.tokens; }, loss_of));
    by_time.series.push_back(curve(
        run, color, [](const TrainStep& s) { return s.seconds; }, loss_of));
    rate.series.push_back(curve(run, color, step_number, [](const TrainStep& s) { return s.lr; }));
    speed.series.push_back(curve(run, color, step_number, [](const TrainStep& s) { return s.tokens_per_second; }));
    norm.series.push_back(curve(run, color, step_number, [](const TrainStep& s) { return s.grad_norm; }));
    ChartSeries points = {.name = run.name, .style = SeriesStyle::kLineAndPoints, .color = color};
    for (const ValidStep& step : run.valid) {
      points.x.push_back(step.tokens);
      points.y.push_back(step.loss);
    }
    valid.series.push_back(std::move(points));
    for (const RunEvent& event : run.events)
      norm.marks.push_back({.axis = ChartMark::Axis::kX, .value = static_cast<double>(event.step)});
  }
  return "<h2>Curves</h2>\n" + to_svg(ChartGrid{"", {by_tokens, valid, by_flops, by_time, rate, speed, norm}, 2});
}

std::string events(const std::vector<RunLog>& runs) {
  std::vector<Row> rows;
  for (const RunLog& run : runs)
    for (const RunEvent& event : run.events) rows.push_back({run.name, cat(event.step), event.text});
  return "<h2>Skipped steps and rollbacks</h2>\n" +
         (rows.empty() ? std::string("<p>None.</p>\n") : table({"run", "step", "what"}, rows));
}

std::string sources(const std::vector<RunLog>& runs) {
  std::vector<Row> rows;
  for (const RunLog& run : runs) {
    for (const char* name : {"config.yaml", "metrics.jsonl"}) {
      const fs::path file = run.folder / name;
      rows.push_back(
          {run.name, file.string(), cat(fs::file_size(file)), hex64(xxh3_file(file)),
           name[0] == 'm' && run.damaged_lines > 0 ? cat(run.damaged_lines, " damaged lines left out") : ""});
    }
  }
  return "<h2>Sources</h2>\n" + table({"run", "file", "bytes", "xxh3", ""}, rows) +
         "<p class=\"note\">Steps, tokens, losses, rates and speeds are lines of metrics.jsonl; parameters and FLOPs "
         "follow from config.yaml as `ttt plan` has them.</p>\n";
}

}  // namespace

std::string report_page(const std::string& title, const std::vector<RunLog>& runs) {
  return "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
         "content=\"width=device-width\">\n<title>" +
         xml_escape(title) + "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<h1>" + xml_escape(title) +
         "</h1>\n" + summary(runs) + differences(runs) + charts(runs) + events(runs) + sources(runs) +
         "</body>\n</html>\n";
}

}  // namespace ttt
