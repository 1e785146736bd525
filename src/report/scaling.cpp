#include "report/scaling.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "chart/svg.h"
#include "fit/design.h"
#include "fit/parallel.h"
#include "fit/report.h"
#include "report/html.h"
#include "report/seeds.h"

namespace ttt {
namespace {

constexpr int kReportBootstrap = 200;
constexpr std::size_t kMostLines = 12;  // of a chart, that can be told apart

// Finished runs of one size that differ in their seed alone.
struct SizePoint {
  std::string group;   // mixer and backbone, as `ttt fit` names them
  std::string series;  // the group, and what parts its runs into lines: the budget, tokens a parameter, the set
  std::string key;     // equal for runs that may be one point
  std::string names;
  double n = 0, c = 0;
  std::vector<double> losses;
  bool is_best = true;  // no other point of the series and size has a lower loss
};

double positive_in(const Json& line, const char* key) {
  const Json value = line.value(key, Json());
  return value.is_number() && value.get<double>() > 0 ? value.get<double>() : 0;
}

std::string word_in(const Json& line, const char* key) {
  const Json value = line.value(key, Json());
  return value.is_string() ? value.get<std::string>() : "";
}

// What tells the lines of one group apart.
std::string line_of(const Json& line) {
  if (const double ratio = positive_in(line, "tokens_per_parameter"); ratio > 0)
    return cat(", ", html_number(ratio, 3), " tokens a parameter");
  if (const double budget = positive_in(line, "budget"); budget > 0)
    return cat(", ", html_number(budget, 3), " FLOPs (", word_in(line, "budget_convention"), ")");
  return "";
}

bool has_size(const Json& line) {
  return is_result(line) && positive_in(line, "parameters") > 0 && positive_in(line, "tokens") > 0 &&
         positive_in(line, "flops_exact") > 0 && positive_in(line, "valid_loss") > 0;
}

std::set<std::string> sets_of(const std::vector<Json>& lines) {
  std::set<std::string> sets;
  for (const Json& line : lines)
    if (has_size(line)) sets.insert(word_in(line, "valid_data"));
  return sets;
}

void mark_best(std::vector<SizePoint>& points) {
  for (SizePoint& point : points) {
    for (const SizePoint& other : points) {
      if (other.series != point.series || other.n != point.n || other.c != point.c) continue;
      if (moments_of(other.losses).mean < moments_of(point.losses).mean) point.is_best = false;
    }
  }
}

std::vector<SizePoint> size_points(const std::vector<Json>& lines) {
  const bool several_sets = sets_of(lines).size() > 1;
  std::map<std::string, std::set<std::string>> kinds;  // by group what parts it into lines
  const auto group_of = [](const Json& line) {
    const std::string backbone = word_in(line, "backbone");
    return word_in(line, "mixer") + (backbone.empty() ? "" : "/" + backbone);
  };
  for (const Json& line : lines)
    if (has_size(line)) kinds[group_of(line)].insert(line_of(line));
  std::vector<SizePoint> points;
  for (const Json& line : lines) {
    if (!has_size(line)) continue;
    SizePoint own;
    own.group = own.series = group_of(line);
    if (kinds[own.group].size() > 1) own.series += line_of(line);
    if (several_sets) own.series += " on " + word_in(line, "valid_data");
    own.n = positive_in(line, "parameters");
    own.c = positive_in(line, "flops_exact");
    const std::string name = word_in(line, "name");
    own.key = name_of_group(line);
    auto found = std::find_if(points.begin(), points.end(), [&](const SizePoint& point) {
      return point.series == own.series && point.key == own.key && point.n == own.n && point.c == own.c;
    });
    if (found == points.end()) found = points.insert(points.end(), std::move(own));
    found->names += (found->names.empty() ? "" : ", ") + name;
    found->losses.push_back(positive_in(line, "valid_loss"));
  }
  mark_best(points);
  std::stable_sort(points.begin(), points.end(),
                   [](const SizePoint& a, const SizePoint& b) { return a.n < b.n || (a.n == b.n && a.c < b.c); });
  return points;
}

struct SeriesName {
  std::string series, group;
};
std::vector<SeriesName> series_of(const std::vector<SizePoint>& points) {
  std::vector<SeriesName> all;
  for (const SizePoint& point : points) {
    const bool known =
        std::any_of(all.begin(), all.end(), [&](const SeriesName& name) { return name.series == point.series; });
    if (!known) all.push_back({point.series, point.group});
  }
  std::sort(all.begin(), all.end(), [](const SeriesName& a, const SeriesName& b) { return a.series < b.series; });
  return all;
}

ChartSeries points_of(const std::vector<SizePoint>& points, const std::string& series, bool best, bool by_flops,
                      bool perplexity) {
  ChartSeries out;
  out.name = series + (best ? "" : ", others");
  out.style = best ? SeriesStyle::kLineAndPoints : SeriesStyle::kPoints;
  bool has_seeds = false;
  for (const SizePoint& point : points) {
    if (point.series != series || point.is_best != best) continue;
    std::vector<double> values;
    for (const double loss : point.losses) values.push_back(perplexity ? std::exp(loss) : loss);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    out.x.push_back(by_flops ? point.c : point.n);
    out.y.push_back(moments_of(values).mean);
    out.low.push_back(*low);
    out.high.push_back(*high);
    out.notes.push_back(point.names);
    has_seeds = has_seeds || values.size() > 1;
  }
  if (!has_seeds) {
    out.low.clear();
    out.high.clear();
  }
  return out;
}

// The lowest loss that a law promises for so many FLOPs, along the runs' budgets.
ChartSeries fit_curve(const LawStudy& study, int color, bool perplexity) {
  constexpr int kSteps = 60;
  const DataRange c = range_of(study.points, &ScalingPoint::c);
  const double k = study.flops_per_parameter_token;
  ChartSeries out;
  out.name = study.name + ", compute-optimal by the fit";
  out.dash = LineDash::kDashed;
  out.color = color;
  for (int i = 0; i < kSteps; ++i) {
    const double flops = c.low * std::pow(c.high / c.low, i / (kSteps - 1.0));
    const auto value = [&](const ScalingLaw& law) {
      const double loss = compute_optimal(law, flops, k).loss;
      return perplexity ? std::exp(loss) : loss;
    };
    out.x.push_back(flops);
    out.y.push_back(value(study.fit.law));
    if (const auto interval = study.interval(value)) {
      out.low.push_back(interval->low);
      out.high.push_back(interval->high);
    }
  }
  return out;
}

Chart scale_chart(const std::vector<SizePoint>& points, const std::vector<LawStudy>& laws, bool by_flops,
                  bool perplexity, const std::string& file) {
  Chart chart;
  const std::string what = perplexity ? "perplexity" : "loss";
  chart.title = cat("Validation ", what, by_flops ? " by training FLOPs" : " by parameters");
  chart.x = {.label = "parameters", .scale = AxisScale::kLog, .numbers = NumberStyle::kShort};
  if (by_flops) chart.x = {.label = "training FLOPs, exact products", .scale = AxisScale::kLog};
  chart.y = {.label = what, .unit = perplexity ? "" : "nats", .scale = AxisScale::kLog};
  chart.width = 570;
  chart.height = 420;
  const std::vector<SeriesName> names = series_of(points);
  for (std::size_t i = 0; i < names.size(); ++i) {
    for (const bool best : {true, false}) {
      ChartSeries series = points_of(points, names[i].series, best, by_flops, perplexity);
      series.color = static_cast<int>(i);
      if (!series.x.empty()) chart.series.push_back(std::move(series));
    }
  }
  for (const LawStudy& law : laws) {
    if (!by_flops || !law.identified()) continue;
    const auto first =
        std::find_if(names.begin(), names.end(), [&](const SeriesName& name) { return name.group == law.name; });
    const std::ptrdiff_t color = first == names.end() ? 0 : first - names.begin();
    chart.series.push_back(fit_curve(law, static_cast<int>(color), perplexity));
  }
  chart.note = cat("From ", file, ", finished runs.");
  return chart;
}

// The fit takes seconds where the design does not rule it out.
const LawStudy& studied(const PointGroup& group, LawMemory& memory) {
  Xxh3Stream hash;
  std::string key = group.name;
  for (const ScalingPoint& point : group.points) {
    for (const double value : {point.n, point.d, point.c, point.loss}) hash.update(&value, sizeof value);
    key += "\n" + point.place;
  }
  key += "\n" + hex64(hash.digest());
  const auto found = memory.studies.find(key);
  if (found != memory.studies.end()) return found->second;
  LawStudy study;
  const std::vector<std::string> mistakes = design_mistakes(group.points);
  if (mistakes.empty()) {
    FitSettings settings;
    settings.bootstrap = kReportBootstrap;
    settings.threads = available_threads();
    study = study_law(group.name, group.points, settings);
  } else {
    study.name = group.name;
    study.points = group.points;
    study.reasons = mistakes;
    study.flops_per_parameter_token = flops_per_parameter_token(group.points);
  }
  return memory.studies.emplace(key, std::move(study)).first->second;
}

// What `ttt fit` says of the file. Throws UserError for one that it does not take.
std::string laws_of(const fs::path& file, std::vector<LawStudy>& laws, LawMemory& memory) {
  const PointSet set = read_points(std::vector<fs::path>{file}, PointColumns());
  for (const PointGroup& group : group_points(set.points)) laws.push_back(studied(group, memory));
  ReportContext context;
  context.files = {file.string()};
  context.notes = set.notes;
  context.settings.bootstrap = kReportBootstrap;
  return "<pre>" + xml_escape(laws_text(laws, context)) + "</pre>\n" +
         html_note(cat("The law of each mixer, or why there is none: `ttt fit ", file.string(), " --bootstrap ",
                       kReportBootstrap, "` says the same, and draws residuals with --plot."));
}

std::string scaling_of(const ResultsFile& file, const std::string& suffix, std::vector<Figure>& figures,
                       LawMemory& memory) {
  const std::vector<SizePoint> points = size_points(file.lines);
  const std::string path = file.path.string();
  if (points.empty())
    return html_note(cat("Perplexity against FLOPs and parameters is not shown: ", path,
                         " has no finished run with parameters, tokens, flops_exact and valid_loss."));
  const bool one_size = std::all_of(points.begin(), points.end(), [&](const SizePoint& point) {
    return point.n == points[0].n && point.c == points[0].c;
  });
  if (one_size)
    return html_note(cat("Perplexity against FLOPs and parameters is not shown: all finished runs of ", path,
                         " have the same parameters and FLOPs."));
  const auto answers = [](const Json& line) { return line.value("accuracy", Json()).is_number(); };
  if (std::any_of(file.lines.begin(), file.lines.end(), answers))
    return html_note(cat("Perplexity against FLOPs and parameters is not shown: the runs of ", path,
                         " are judged by their answers (above)."));
  if (const std::size_t count = series_of(points).size(); count > kMostLines)
    return html_note(cat("Perplexity against FLOPs and parameters is not shown: ", path, " has ", count,
                         " lines of runs, and a chart takes ", kMostLines, "; report a part of it."));
  std::vector<LawStudy> laws;
  std::string text;
  if (sets_of(file.lines).size() > 1) {
    text = html_note("No law is fitted: the runs are validated on several sets, whose losses no one law describes.");
  } else {
    try {
      text = laws_of(file.path, laws, memory);
    } catch (const UserError& error) {
      laws.clear();
      text = html_note(cat("No law is fitted: ", error.what(), "."));
    }
  }
  ChartGrid grid;
  for (const bool perplexity : {true, false}) {
    for (const bool by_flops : {true, false}) {
      grid.charts.push_back(scale_chart(points, laws, by_flops, perplexity, path));
      const char* what = perplexity ? "perplexity" : "valid_loss";
      const char* by = by_flops ? "_by_training_flops" : "_by_parameters";
      figures.push_back({cat(what, by, suffix), grid.charts.back()});
    }
  }
  return to_svg(grid) +
         html_note(cat(from_files({path}),
                       " A line goes through the sizes of a mixer in their order, at each size through the run with "
                       "the lowest loss; others of the same size are points beside it. Runs that differ in their seed "
                       "alone are one point, the mean, with the lowest and the highest of them. Of searches for the "
                       "learning rate only the best run counts. Perplexity is e to the loss.")) +
         text;
}

}  // namespace

std::string scaling_section(const std::vector<ResultsFile>& results, std::vector<Figure>& figures, LawMemory& memory) {
  std::string out;
  if (results.empty()) out = html_note("Not shown: these are of sweeps, from their runs.jsonl, and none was given.");
  for (std::size_t i = 0; i < results.size(); ++i)
    out += scaling_of(results[i], i == 0 ? "" : cat("_", i + 1), figures, memory);
  return "<h2>Loss against FLOPs and parameters</h2>\n" + out;
}

}  // namespace ttt
