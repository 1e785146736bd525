#include "report/page.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/hash.h"
#include "chart/chart.h"
#include "chart/svg.h"
#include "config/load.h"
#include "plan/plan.h"
#include "report/answers.h"
#include "report/events.h"
#include "report/html.h"
#include "report/positions.h"
#include "report/seeds.h"

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
pre{font-size:13px;overflow-x:auto}
p.note{color:var(--dim);font-size:13px}
@media print{th,td{white-space:normal}}
@media screen and (max-width:820px){svg{min-width:820px}}
)";

double median_speed(const RunLog& run) {
  std::vector<double> speeds;
  for (const TrainStep& step : run.train) speeds.push_back(step.tokens_per_second);
  if (speeds.empty()) return NAN;
  std::nth_element(speeds.begin(), speeds.begin() + static_cast<std::ptrdiff_t>(speeds.size() / 2), speeds.end());
  return speeds[speeds.size() / 2];
}

// config.yaml and metrics.jsonl of each.
std::vector<std::string> run_files(const std::vector<RunLog>& runs) {
  std::vector<std::string> files;
  for (const RunLog& run : runs)
    for (const char* name : {"config.yaml", "metrics.jsonl"}) files.push_back((run.folder / name).string());
  return files;
}

std::string summary(const std::vector<RunLog>& runs) {
  std::vector<HtmlRow> rows;
  for (const RunLog& run : runs) {
    const Plan plan = make_plan(run.config);
    const TrainStep last = run.train.empty() ? TrainStep{} : run.train.back();
    rows.push_back(
        {run.name, to_string(run.config.model.mixer), html_short_number(static_cast<double>(plan.parameters.total)),
         cat(last.step, " of ", plan.steps), html_short_number(last.tokens),
         html_number(plan.training.exact * last.tokens, 3), run.train.empty() ? "-" : html_number(last.loss),
         run.valid.empty() ? "-" : html_number(run.valid.back().loss),
         run.valid.empty() || !run.valid.back().bits_per_byte ? "-" : html_number(*run.valid.back().bits_per_byte),
         html_short_number(median_speed(run)), cat(run.events.size())});
  }
  return "<h2>Runs</h2>\n" +
         html_table({"run", "mixer", "parameters", "steps", "tokens", "FLOPs", "last training loss",
                     "last validation loss", "bits/byte", "tokens/s (median)", "events"},
                    rows) +
         html_note(from_files(run_files(runs)) +
                   " FLOPs: exact products, 3 x forward. Losses are nats a token; the training loss is that of the "
                   "last step's batch. MFU is not shown: no file of a run says what its machine can do.");
}

std::string differences(const std::vector<RunLog>& runs) {
  if (runs.size() < 2) return "";
  std::vector<std::pair<std::string, HtmlRow>> keys;  // key, value of each run
  for (std::size_t i = 1; i < runs.size(); ++i) {
    for (const FieldDifference& field : diff(runs[0].config, runs[i].config)) {
      if (field.key == "output_dir") continue;
      auto key = std::find_if(keys.begin(), keys.end(), [&](const auto& k) { return k.first == field.key; });
      if (key == keys.end()) key = keys.insert(keys.end(), {field.key, HtmlRow(runs.size(), field.a)});
      key->second[i] = field.b;
    }
  }
  if (keys.empty()) return "<h2>Configs</h2>\n<p>The runs' configs are the same but for output_dir.</p>\n";
  HtmlRow header = {"key"};
  for (const RunLog& run : runs) header.push_back(run.name);
  std::vector<HtmlRow> rows;
  for (const auto& [key, values] : keys) {
    HtmlRow row = {key};
    row.insert(row.end(), values.begin(), values.end());
    rows.push_back(std::move(row));
  }
  return "<h2>Where the configs differ</h2>\n" + html_table(header, rows) +
         html_note("From the runs' config.yaml, as Sources lists them.");
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

std::string charts(const std::vector<RunLog>& runs, std::vector<Figure>& figures) {
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
    for (const RunEvent& event : run.events) {
      const auto at = static_cast<double>(event.step);
      if (event.step >= 0) norm.marks.push_back({.axis = ChartMark::Axis::kX, .value = at});
    }
  }
  const std::vector<Figure> all = {{"train_loss_by_tokens", by_tokens},
                                   {"valid_loss_by_tokens", valid},
                                   {"train_loss_by_flops", by_flops},
                                   {"train_loss_by_time", by_time},
                                   {"learning_rate", rate},
                                   {"throughput", speed},
                                   {"gradient_norm", norm}};
  ChartGrid grid;
  for (const Figure& figure : all) grid.charts.push_back(figure.chart);
  figures.insert(figures.end(), all.begin(), all.end());
  return "<h2>Curves</h2>\n" + to_svg(grid) +
         html_note(from_files(run_files(runs)) +
                   " Lines across the gradient norm: steps at which something happened, by Failures and resumes.");
}

// The lines of results files, as they are: what their sweeps measured.
std::string result_tables(const std::vector<ResultsFile>& results) {
  std::string out;
  for (const ResultsFile& file : results) {
    std::vector<HtmlRow> rows;
    for (const Json& line : file.lines) {
      const auto number = [&](const char* key, bool brief) {
        const Json value = line.value(key, Json());
        if (!value.is_number()) return std::string("-");
        return brief ? html_short_number(value.get<double>()) : html_number(value.get<double>());
      };
      const auto text = [&](const char* key) {
        const Json value = line.value(key, Json());
        return value.is_string() ? value.get<std::string>() : std::string("-");
      };
      rows.push_back({text("name"), text("status"), text("mixer"), number("parameters", true), number("tokens", true),
                      number("flops_exact", false), number("valid_loss", false), number("bits_per_byte", false),
                      number("accuracy", false), number("tokens_per_second", true), number("peak_memory_bytes", true)});
    }
    out += "<h2>Results: " + xml_escape(file.path.string()) + "</h2>\n" +
           html_table({"run", "status", "mixer", "parameters", "tokens", "FLOPs", "validation loss", "bits/byte",
                       "accuracy", "tokens/s", "peak memory (bytes)"},
                      rows) +
           html_note(from_files({file.path.string()}) +
                     " Memory is resident, the largest of a run's processes; \"-\" is what the file does not say.");
  }
  return out;
}

std::string sources(const std::vector<RunLog>& runs, const std::vector<ResultsFile>& results) {
  std::vector<HtmlRow> rows;
  for (const RunLog& run : runs) {
    for (const char* name : kRunFiles) {
      const fs::path file = run.folder / name;
      if (!fs::is_regular_file(file)) continue;
      rows.push_back(
          {run.name, file.string(), cat(fs::file_size(file)), hex64(xxh3_file(file)),
           name[0] == 'm' && run.damaged_lines > 0 ? cat(run.damaged_lines, " damaged lines left out") : ""});
    }
  }
  for (const ResultsFile& file : results)
    rows.push_back({"", file.path.string(), cat(fs::file_size(file.path)), hex64(xxh3_file(file.path)), ""});
  return "<h2>Sources</h2>\n" + html_table({"run", "file", "bytes", "xxh3", ""}, rows) +
         "<p class=\"note\">Steps, tokens, losses, rates and speeds are lines of metrics.jsonl; parameters and FLOPs "
         "follow from config.yaml as `ttt plan` has them. Resumes, signals and errors are lines of train.log.</p>\n";
}

}  // namespace

Report report_page(const std::string& title, const std::vector<RunLog>& runs, const std::vector<ResultsFile>& results) {
  LawMemory memory;
  return report_page(title, runs, results, memory);
}

Report report_page(const std::string& title, const std::vector<RunLog>& runs, const std::vector<ResultsFile>& results,
                   LawMemory& memory) {
  Report report;
  AnswerRuns answers = answer_runs(runs);
  for (const ResultsFile& file : results) {
    if (file.of_folder) continue;  // its runs' own files have told
    const AnswerRuns more = answer_runs(file.lines);
    answers.runs.insert(answers.runs.end(), more.runs.begin(), more.runs.end());
    answers.unfinished += more.unfinished;
  }
  std::string body;
  if (!runs.empty()) body += summary(runs) + differences(runs);
  body += answers_section(answers, report.figures);
  body += scaling_section(results, report.figures, memory);
  body += seeds_section(runs, results);
  if (!runs.empty()) {
    body += charts(runs, report.figures);
    body += positions_section(runs, report.figures);
    body += inner_losses_section(runs, report.figures);
  }
  body += events_section(runs, results);
  body += result_tables(results);
  report.page =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>" +
      xml_escape(title) + "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<h1>" + xml_escape(title) +
      "</h1>\n" + body + sources(runs, results) + "</body>\n</html>\n";
  return report;
}

}  // namespace ttt
