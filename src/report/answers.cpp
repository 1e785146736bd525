#include "report/answers.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/error.h"
#include "plan/plan.h"
#include "report/html.h"

namespace ttt {
namespace {

// Things by a key, in the order in which keys first come.
template <class T>
using Grouped = std::vector<std::pair<std::string, std::vector<T>>>;

template <class T>
std::vector<T>& group(Grouped<T>& groups, const std::string& key) {
  const auto found = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == key; });
  return found != groups.end() ? found->second : groups.emplace_back(key, std::vector<T>()).second;
}

std::string percent(double share) {
  return html_number(100 * share, 3) + " %";
}

std::string spread(std::vector<double> values) {
  if (values.empty()) return "-";
  double sum = 0;
  for (const double value : values) sum += value;
  const std::string mean = percent(sum / static_cast<double>(values.size()));
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return values.size() == 1 ? mean : cat(mean, " (", percent(*low), " to ", percent(*high), ")");
}

Chart state_chart(const std::string& set, const std::vector<AnswerRun>& runs) {
  Chart chart;
  chart.title = cat("Accuracy by state on ", set);
  chart.x = {.label = "state of one sequence", .unit = "bytes", .scale = AxisScale::kLog2};
  chart.y = {.label = "accuracy of scored targets", .min = 0, .max = 1.02};
  chart.width = 570;
  chart.height = 380;
  Grouped<AnswerRun> mixers;
  for (const AnswerRun& run : runs) group(mixers, run.mixer).push_back(run);
  for (auto& [mixer, own] : mixers) {
    std::stable_sort(own.begin(), own.end(),
                     [](const AnswerRun& a, const AnswerRun& b) { return a.state_bytes < b.state_bytes; });
    ChartSeries series{.name = mixer, .x = {}, .y = {}, .style = SeriesStyle::kLineAndPoints};
    // A point for each size of state, the mean of its runs.
    for (std::size_t i = 0; i < own.size();) {
      double sum = 0, low = own[i].accuracy, high = low;
      std::size_t end = i;
      std::string names;
      for (; end < own.size() && own[end].state_bytes == own[i].state_bytes; ++end) {
        sum += own[end].accuracy;
        low = std::min(low, own[end].accuracy);
        high = std::max(high, own[end].accuracy);
        names += (names.empty() ? "" : ", ") + own[end].name;
      }
      series.x.push_back(own[i].state_bytes);
      series.y.push_back(sum / static_cast<double>(end - i));
      series.low.push_back(low);
      series.high.push_back(high);
      series.notes.push_back(names);
      i = end;
    }
    chart.series.push_back(std::move(series));
  }
  chart.note =
      "Points: the mean of the runs of a mixer and size, at the best learning rate. Bands: the lowest "
      "and the highest of them.";
  return chart;
}

}  // namespace

AnswerRuns answer_runs(const std::vector<RunLog>& runs) {
  AnswerRuns answers;
  for (const RunLog& run : runs) {
    if (run.valid.empty() || !run.valid.back().accuracy) continue;
    const ValidStep& last = run.valid.back();
    if (last.step < run.config.train.steps) {
      ++answers.unfinished;
      continue;
    }
    answers.runs.push_back({run.name, to_string(run.config.model.mixer), run.config.data.valid.text(),
                            run.config.optim.lr, static_cast<double>(make_plan(run.config).memory.decoding_state),
                            *last.accuracy});
  }
  return answers;
}

AnswerRuns answer_runs(const std::vector<Json>& lines) {
  AnswerRuns answers;
  const auto number = [](const Json& line, const char* key) {
    const Json value = line.value(key, Json());
    return value.is_number() ? value.get<double>() : 0;
  };
  const auto text = [](const Json& line, const char* key) {
    const Json value = line.value(key, Json());
    return value.is_string() ? value.get<std::string>() : std::string("?");
  };
  for (const Json& line : lines) {
    if (!line.value("accuracy", Json()).is_number()) continue;
    if (text(line, "status") != "finished") {
      ++answers.unfinished;
      continue;
    }
    answers.runs.push_back({text(line, "name"), text(line, "mixer"), text(line, "valid_data"), number(line, "lr"),
                            number(line, "decoding_state_bytes"), number(line, "accuracy")});
  }
  return answers;
}

std::vector<AnswerRun> at_best_rates(const std::vector<AnswerRun>& runs) {
  using Size = std::tuple<std::string, std::string, double>;       // set, mixer, bytes of state
  std::map<Size, std::map<double, std::pair<double, int>>> rates;  // by rate the sum of accuracies and their number
  const auto size_of = [](const AnswerRun& run) { return Size(run.set, run.mixer, run.state_bytes); };
  for (const AnswerRun& run : runs) {
    auto& [sum, count] = rates[size_of(run)][run.lr];
    sum += run.accuracy;
    ++count;
  }
  std::vector<AnswerRun> best;
  for (const AnswerRun& run : runs) {
    const auto& own = rates.at(size_of(run));
    const auto highest = std::max_element(own.begin(), own.end(), [](const auto& a, const auto& b) {
      return a.second.first / a.second.second < b.second.first / b.second.second;
    });
    if (run.lr == highest->first) best.push_back(run);
  }
  return best;
}

std::string answers_section(const AnswerRuns& all, std::vector<Figure>& figures) {
  const std::string left_out =
      all.unfinished > 0 ? cat("<p class=\"note\">Left out: ", all.unfinished,
                               all.unfinished == 1 ? " run that is" : " runs that are", " not finished.</p>\n")
                         : "";
  if (all.runs.empty()) return left_out.empty() ? "" : "<h2>Answers</h2>\n" + left_out;
  const std::vector<AnswerRun> runs = at_best_rates(all.runs);
  Grouped<AnswerRun> sets;
  std::vector<std::string> mixers;
  for (const AnswerRun& run : runs) {
    group(sets, run.set).push_back(run);
    if (std::find(mixers.begin(), mixers.end(), run.mixer) == mixers.end()) mixers.push_back(run.mixer);
  }
  HtmlRow header = {"data.valid"};
  header.insert(header.end(), mixers.begin(), mixers.end());
  std::vector<HtmlRow> rows;
  for (const auto& [set, own] : sets) {
    HtmlRow row = {set};
    for (const std::string& mixer : mixers) {
      std::vector<double> values;
      for (const AnswerRun& run : own)
        if (run.mixer == mixer) values.push_back(run.accuracy);
      row.push_back(spread(values));
    }
    rows.push_back(std::move(row));
  }
  std::string out = "<h2>Answers</h2>\n" + html_table(header, rows) +
                    "<p class=\"note\">Share of the scored targets that the model holds for the most likely token: the "
                    "mean over a mixer's runs, the lowest and the highest. Of several learning rates the best, for "
                    "each size of state.</p>\n" +
                    left_out;
  ChartGrid grid;
  for (const auto& [set, own] : sets) {
    std::set<double> states;
    for (const AnswerRun& run : own) states.insert(run.state_bytes);
    if (states.size() < 2) continue;
    grid.charts.push_back(state_chart(set, own));
    figures.push_back({"state_" + figure_name(set), grid.charts.back()});
  }
  return grid.charts.empty() ? out : out + to_svg(grid);
}

}  // namespace ttt
