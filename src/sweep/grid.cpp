#include "sweep/grid.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>

#include "base/error.h"
#include "fit/design.h"
#include "plan/flops.h"
#include "plan/parameters.h"
#include "plan/units.h"
#include "sweep/record.h"

namespace ttt {
namespace {

std::string short_form(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

double parameters_of(const RunConfig& config) {
  return static_cast<double>(count_parameters(config.model).total);
}

double tokens_of(const RunConfig& config) {
  return static_cast<double>(config.train.steps) * static_cast<double>(config.train.batch_tokens);
}

// A size of one budget: its runs are the evaluations of a search, or one.
struct SizeOfBudget {
  double parameters = 0;
  double expected = 0;  // loss, by a law of published runs
  double lowest = std::numeric_limits<double>::infinity();
  bool ended = true;
  std::vector<SweepRun*> runs;
};

void mark_budget(std::vector<SizeOfBudget>& sizes) {
  std::sort(sizes.begin(), sizes.end(), [](const auto& a, const auto& b) { return a.parameters < b.parameters; });
  const bool ended = std::all_of(sizes.begin(), sizes.end(), [](const auto& size) { return size.ended; });
  for (SizeOfBudget& size : sizes)
    for (SweepRun* run : size.runs) run->cell->end.clear();
  // A size that failed tells nothing of what lies beyond the next one.
  if (ended) std::erase_if(sizes, [](const auto& size) { return !std::isfinite(size.lowest); });
  if (sizes.size() < 2) return;
  const auto best = std::min_element(sizes.begin(), sizes.end(), [&](const auto& a, const auto& b) {
    return ended ? a.lowest < b.lowest : a.expected < b.expected;
  });
  const bool smallest = best == sizes.begin(), largest = best + 1 == sizes.end();
  if (!smallest && !largest) return;
  const char* beyond = smallest ? "smaller" : "larger";
  for (SweepRun* run : best->runs) {
    run->cell->end =
        ended ? cat("the lowest loss of its budget is at this end of the sizes; add ", beyond, " ones")
              : cat("published laws expect the lowest loss of its budget at this size or a ", beyond, " one");
  }
}

}  // namespace

GridSpec read_grid(const YamlSource& yaml, const YAML::Node& key, const YAML::Node& node) {
  GridSpec grid;
  grid.isoflop = key.Scalar() == "isoflop";
  grid.place = yaml.place(key);
  const char* values = grid.isoflop ? "budgets" : "tokens_per_parameter";
  std::vector<std::string> keys = {"sizes", values, "min_steps"};
  if (grid.isoflop) keys.insert(keys.end(), {"convention", "min_tokens_per_parameter"});
  if (!grid.isoflop) keys.emplace_back("parameters");
  yaml.check_keys(grid.key(), yaml.map(key, node), keys);
  for (const char* name : {"sizes", values})
    if (!node[name]) user_error(grid.place, ": ", grid.key(), " has no '", name, "'");
  for (const auto& item : node) {
    if (item.first.Scalar() == "sizes") grid.sizes = read_axis(yaml, item.first, item.second);
  }
  grid.sizes.name = "size";
  if (!node[values].IsSequence() || node[values].size() == 0)
    user_error(yaml.place(node[values]), ": '", values, "' must be a list of numbers, such as ",
               grid.isoflop ? "[1e15, 3e15]" : "[5, 20]");
  for (const auto& item : node[values]) {
    const double value = yaml.positive(item, values);
    for (const auto& [text, other] : grid.values)
      if (other == value)
        user_error(yaml.place(item), ": '", values, "' has '", item.Scalar(), "'",
                   text == item.Scalar() ? " twice" : cat(" and '", text, "', which are the same"), "; remove one");
    grid.values.emplace_back(item.Scalar(), value);
  }
  if (node["convention"])
    grid.convention = yaml.choice(node["convention"], "convention", {"six_nd", "chinchilla", "exact"});
  if (node["parameters"]) grid.parameters = yaml.choice(node["parameters"], "parameters", {"total", "non_embedding"});
  if (node["min_steps"]) grid.min_steps = yaml.count(node["min_steps"], "min_steps");
  if (node["min_tokens_per_parameter"])
    grid.min_tokens_per_parameter = yaml.positive(node["min_tokens_per_parameter"], "min_tokens_per_parameter");
  return grid;
}

double grid_steps(const GridSpec& grid, const RunConfig& config, double value) {
  const double batch = static_cast<double>(config.train.batch_tokens);
  if (grid.isoflop) {
    const Flops flops = training_flops(config.model, config.train.context);
    const double per_token = grid.convention == "six_nd"       ? flops.six_nd
                             : grid.convention == "chinchilla" ? flops.chinchilla
                                                               : flops.exact;
    return value / (per_token * batch);
  }
  const ParameterCount count = count_parameters(config.model);
  return value * static_cast<double>(grid.parameters == "total" ? count.total : count.non_embedding()) / batch;
}

GridCell grid_cell(const GridSpec& grid, const RunConfig& config, const std::string& group, const std::string& size,
                   double value) {
  GridCell cell;
  cell.size = size;
  if (grid.isoflop) {
    cell.group = group;
    cell.budget = value;
    cell.convention = grid.convention;
  } else {
    cell.tokens_per_parameter = value;
  }
  if (config.train.steps < grid.min_steps)
    cell.edges.push_back(cat(config.train.steps, " steps, fewer than ", grid.min_steps));
  const double ratio = tokens_of(config) / parameters_of(config);
  if (grid.isoflop && ratio < grid.min_tokens_per_parameter)
    cell.edges.push_back(
        cat(short_form(ratio), " tokens a parameter, fewer than ", short_form(grid.min_tokens_per_parameter)));
  return cell;
}

std::string edge_text(const GridCell& cell) {
  std::string text;
  for (const std::string& edge : cell.edges) text += (text.empty() ? "" : "; ") + edge;
  if (!cell.end.empty()) text += (text.empty() ? "" : "; ") + cell.end;
  return text;
}

void mark_edges(Sweep& sweep) {
  std::map<std::string, std::map<std::string, SizeOfBudget>> groups;
  for (SweepRun& run : sweep.runs) {
    if (!run.cell || run.cell->group.empty()) continue;
    SizeOfBudget& size = groups[run.cell->group][run.cell->size];
    size.runs.push_back(&run);
    size.parameters = parameters_of(run.config);
    size.expected = kPublishedLaw.loss(size.parameters, tokens_of(run.config));
    const RunRecord record = read_record(run);
    if (!has_ended(run, record)) {
      size.ended = false;
    } else if (record.status == RunStatus::kFinished) {
      size.lowest = std::min(size.lowest, read_results(run).valid_loss.value_or(size.lowest));
    }
  }
  for (auto& [name, by_size] : groups) {
    std::vector<SizeOfBudget> sizes;
    for (auto& [size, own] : by_size) sizes.push_back(std::move(own));
    mark_budget(sizes);
  }
}

}  // namespace ttt
