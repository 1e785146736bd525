#include "fit/points.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/error.h"
#include "fit/table.h"

namespace ttt {
namespace {

bool is_runs_file(const DataTable& table) {
  return table.is_json_lines() && table.find("status") && table.find("parameters") && table.find("tokens");
}

// The columns of a table by what they hold.
struct Found {
  std::optional<std::size_t> n, d, c, loss, by, status, name, backbone, search, best;
};

std::optional<std::size_t> column_or(const DataTable& table, const std::string& asked, const std::string& otherwise) {
  if (!asked.empty()) return table.column(asked);
  if (otherwise.empty()) return std::nullopt;
  return table.column(otherwise);
}

Found find_columns(const DataTable& table, const PointColumns& columns, bool runs) {
  Found found;
  // Which of N, D and C a sweep's file gives by itself, unless two of them were named.
  const int named = !columns.n.empty() + !columns.d.empty() + !columns.c.empty();
  const bool fill = runs && named < 2;
  found.n = column_or(table, columns.n,
                      !fill                           ? ""
                      : columns.parameters == "total" ? "parameters"
                                                      : "parameters_" + columns.parameters);
  found.d = column_or(table, columns.d, fill ? "tokens" : "");
  found.c = column_or(table, columns.c, fill ? "flops_" + columns.flops : "");
  found.loss = column_or(table, columns.loss, runs ? "valid_loss" : "");
  if (!columns.by.empty()) {
    found.by = table.column(columns.by);
  } else if (runs) {
    found.by = table.find("mixer");
    found.backbone = table.find("backbone");
  }
  if (runs) {
    found.status = table.find("status");
    found.name = table.find("name");
    found.search = table.find("search.name");
    found.best = table.find("search_best");
  }
  if (found.n.has_value() + found.d.has_value() + found.c.has_value() < 2 || !found.loss) {
    std::string names;
    for (const std::string& column : table.columns()) names += (names.empty() ? "'" : ", '") + column + "'";
    user_error("'", table.path().string(),
               "' is no runs.jsonl of a sweep: name its columns with --loss and two of --n (parameters), --d (tokens) "
               "and --c (training FLOPs); it has ",
               names);
  }
  return found;
}

void read_table(const DataTable& table, const PointColumns& columns, PointSet& set,
                std::map<std::string, int>& left_out) {
  const bool runs = is_runs_file(table);
  const Found found = find_columns(table, columns, runs);
  for (std::size_t row = 0; row < table.rows(); ++row) {
    if (found.status && table.cell(row, *found.status) != "finished") {
      ++left_out[table.cell(row, *found.status)];
      continue;
    }
    if (found.search && !table.cell(row, *found.search).empty() &&
        (!found.best || table.cell(row, *found.best) != "true")) {
      ++left_out["of searches for the learning rate that are not their best"];
      continue;
    }
    if (runs && table.cell(row, *found.loss).empty()) {
      ++left_out["without a loss"];
      continue;
    }
    ScalingPoint point;
    if (found.n) point.n = table.positive(row, *found.n);
    if (found.d) point.d = table.positive(row, *found.d);
    if (found.c) point.c = table.positive(row, *found.c);
    if (!found.n) point.n = point.c / (6 * point.d);
    if (!found.d) point.d = point.c / (6 * point.n);
    if (!found.c) point.c = 6 * point.n * point.d;
    point.loss = table.positive(row, *found.loss);
    if (found.by) point.group = table.cell(row, *found.by);
    if (found.backbone && !table.cell(row, *found.backbone).empty())
      point.group += "/" + table.cell(row, *found.backbone);
    point.place = found.name ? table.cell(row, *found.name) : table.place(row);
    set.points.push_back(std::move(point));
  }
}

}  // namespace

PointSet read_points(const std::vector<fs::path>& files, const PointColumns& columns) {
  PointSet set;
  std::map<std::string, int> left_out;
  for (const fs::path& file : files) read_table(DataTable(file), columns, set, left_out);
  std::string reasons;
  int count = 0;
  for (const auto& [reason, runs] : left_out) {
    reasons += cat(reasons.empty() ? "" : ", ", runs, " ", reason);
    count += runs;
  }
  if (count > 0) set.notes.push_back(cat(count, count == 1 ? " run is" : " runs are", " left out: ", reasons));
  if (set.points.empty())
    user_error("there is no finished run in ", files.size() == 1 ? "'" + files[0].string() + "'" : "these files",
               count > 0 ? cat(" (", reasons, ")") : "", "; a fit wants at least one of each size");
  return set;
}

void drop_highest(PointSet& set, std::int64_t count) {
  if (count <= 0) return;
  if (static_cast<std::size_t>(count) >= set.points.size())
    user_error("--drop-highest ", count, " leaves nothing of ", set.points.size(), " points; leave fewer out");
  std::vector<std::size_t> order(set.points.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return set.points[a].loss > set.points[b].loss; });
  order.resize(static_cast<std::size_t>(count));
  std::sort(order.begin(), order.end());
  double lowest = set.points[order[0]].loss;
  for (auto i = order.rbegin(); i != order.rend(); ++i) {
    lowest = std::min(lowest, set.points[*i].loss);
    set.points.erase(set.points.begin() + static_cast<std::ptrdiff_t>(*i));
  }
  set.notes.push_back(cat("the ", count, " highest losses are left out, from ", lowest, " on"));
}

std::vector<PointGroup> group_points(const std::vector<ScalingPoint>& points) {
  std::vector<PointGroup> groups;
  for (const ScalingPoint& point : points) {
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.name == point.group; });
    if (group == groups.end()) group = groups.insert(groups.end(), {point.group, {}});
    group->points.push_back(point);
  }
  return groups;
}

DataRange range_of(const std::vector<ScalingPoint>& points, double ScalingPoint::*value) {
  DataRange range = {points.front().*value, points.front().*value};
  for (const ScalingPoint& point : points) {
    range.low = std::min(range.low, point.*value);
    range.high = std::max(range.high, point.*value);
  }
  return range;
}

double flops_per_parameter_token(const std::vector<ScalingPoint>& points) {
  std::vector<double> ratios;
  for (const ScalingPoint& point : points) ratios.push_back(point.c / (point.n * point.d));
  std::sort(ratios.begin(), ratios.end());
  const std::size_t middle = ratios.size() / 2;
  return ratios.size() % 2 == 1 ? ratios[middle] : (ratios[middle - 1] + ratios[middle]) / 2;
}

}  // namespace ttt
