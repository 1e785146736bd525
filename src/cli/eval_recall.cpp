#include "cli/eval_recall.h"

#include <iostream>

#include "base/files.h"
#include "base/json.h"
#include "chart/chart.h"
#include "cli/parse.h"

namespace ttt {
namespace {

Chart recall_chart(const std::vector<std::pair<std::string, RecallTable>>& tables, const std::string& data) {
  Chart chart;
  chart.title = cat("Recall of a passage in ", data);
  chart.x = {.label = "distance", .unit = "tokens", .scale = AxisScale::kLog2};
  chart.y = {.label = "gain", .unit = "nats per token"};
  for (const auto& [name, table] : tables) {
    ChartSeries series{.name = name, .x = {}, .y = {}, .style = SeriesStyle::kLineAndPoints};
    for (const RecallPoint& point : table.points) {
      series.x.push_back(static_cast<double>(point.distance));
      series.y.push_back(point.gain);
      series.low.push_back(point.low);
      series.high.push_back(point.high);
    }
    chart.series.push_back(std::move(series));
  }
  chart.marks.push_back({ChartMark::Axis::kY, 0, ""});
  const RecallTable& first = tables.front().second;
  chart.note =
      cat("Gain: loss of a passage of ", first.passage, " tokens read for the first time, less that of its copy. ",
          "Bands: 95 %, bootstrap over ", first.probes, " probes.");
  return chart;
}

}  // namespace

void RecallArguments::add_to(CLI::App& app) {
  CLI::Option* flag = app.add_flag(
      "--recall-probe", wanted,
      "instead of the loss: passages are planted in the text at known distances and read again; the gain in nats a "
      "token over reading them for the first time, by distance. --max-samples: probes, by default 64");
  app.add_option("--recall-passage", passage, "tokens of a passage")
      ->check(positive_number())
      ->needs(flag)
      ->type_name("TOKENS")
      ->capture_default_str();
  app.add_option("--recall-distances", distances,
                 "tokens from a passage's beginning to its copy's; by default powers of two times the passage")
      ->check(positive_number())
      ->needs(flag)
      ->delimiter(',')
      ->type_name("N,N,...");
  app.add_option("--recall-plot", plot, "draw gain by distance, a line for each checkpoint, as this .svg")
      ->needs(flag)
      ->type_name("FILE.svg");
}

ExitCode show_recall(const RecallArguments& arguments, const std::vector<std::pair<std::string, RecallTable>>& tables,
                     const std::string& data, bool json) {
  const auto object_of = [&](const std::pair<std::string, RecallTable>& named) {
    Json object = {{"checkpoint", named.first}, {"data", data}};
    object.update(to_json(named.second));
    return object;
  };
  if (!json) {
    for (const auto& [name, table] : tables)
      std::cout << (tables.size() > 1 ? cat("checkpoint     ", name, "\n") : std::string()) << to_text(table);
  } else if (tables.size() == 1) {
    std::cout << to_line(object_of(tables.front()));
  } else {
    Json list = Json::array();
    for (const auto& named : tables) list.push_back(object_of(named));
    std::cout << to_line(Json{{"data", data}, {"evaluations", list}});
  }
  if (!arguments.plot.empty()) write_file_atomically(arguments.plot, to_svg(recall_chart(tables, data)));
  return ExitCode::kOk;
}

}  // namespace ttt
