#include "sweep/table.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "base/error.h"
#include "base/text_table.h"
#include "fit/design.h"
#include "plan/units.h"
#include "sweep/branches.h"
#include "sweep/grid.h"

namespace ttt {
namespace {

std::string fixed(const Json& value, int decimals) {
  if (!value.is_number()) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", decimals, value.get<double>());
  return text;
}

std::string scientific(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

double operations_per_token(const RunConfig& config) {
  return training_flops(config.model, config.train.context).exact +
         recompute_flops(config.model, config.train.context, config.train.recompute);
}

// The steps that a branch takes from its trunk; 0: it is trained from its beginning.
std::int64_t steps_of_trunk(const SweepRun& run, const std::vector<const SweepRun*>& runs) {
  if (!run.branch) return 0;
  const auto is_trunk = [&](const SweepRun* other) { return other->index == run.branch->trunk; };
  const bool there = std::any_of(runs.begin(), runs.end(), is_trunk) || is_complete(run.branch->checkpoint);
  return there ? run.branch->step : 0;
}

// As `ttt fit` tells architectures apart (fit/points.h).
std::string architecture(const SweepRun& run) {
  const ModelConfig& model = run.config.model;
  return cat(to_string(model.mixer), model.has_ttt() ? cat("/", to_string(model.backbone)) : std::string());
}

// The designs of architectures that have a grid, or three sizes: name -> verdict, in the order of the runs.
std::vector<std::pair<std::string, DesignVerdict>> designs(const std::vector<const SweepRun*>& runs) {
  std::vector<ScalingPoint> points;
  std::set<std::string> with_grid;
  std::map<std::string, std::set<double>> sizes;
  for (const SweepRun* run : runs) {
    if (run->search && run->search->evaluation > 1) continue;  // one of them is the point
    const Plan plan = make_plan(run->config);
    ScalingPoint point;
    point.n = static_cast<double>(plan.parameters.total);
    point.d = static_cast<double>(plan.tokens);
    point.c = plan.training.exact * point.d;
    point.group = architecture(*run);
    if (run->cell) with_grid.insert(point.group);
    sizes[point.group].insert(point.n);
    points.push_back(std::move(point));
  }
  std::vector<std::pair<std::string, DesignVerdict>> verdicts;
  for (const PointGroup& group : group_points(points)) {
    if (with_grid.count(group.name) == 0 && sizes[group.name].size() < 3) continue;
    verdicts.emplace_back(group.name, judge_design(group.points));
  }
  return verdicts;
}

// The targets that a run validates on, in words. Of two runs with the same data.valid they are the same where as many
// tokens were scored, or will be.
std::string validation_targets(const SweepRun& run, std::int64_t scored) {
  const RunConfig& config = run.config;
  const double asked = static_cast<double>(config.train.eval_samples) * static_cast<double>(config.train.context);
  return cat(scored > 0  ? cat(scored, " targets")
             : asked > 0 ? cat("the first ", short_number(asked), " tokens")
                         : "all",
             " of ", config.data.valid.text());
}

// A warning where the runs' validation losses are over different targets, else nothing. `measured`: by what was scored,
// among runs that have validated.
std::string targets_note(const std::vector<const SweepRun*>& runs, bool measured) {
  std::vector<std::pair<std::string, std::vector<std::string>>> groups;  // targets, names of runs
  for (const SweepRun* run : runs) {
    if (run->config.data.valid.empty()) continue;
    const std::int64_t scored = measured ? read_results(*run).valid_tokens : 0;
    if (measured && scored == 0) continue;
    const std::string targets = validation_targets(*run, scored);
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == targets; });
    if (group == groups.end())
      groups.push_back({targets, {run->name}});
    else
      group->second.push_back(run->name);
  }
  if (groups.size() < 2) return "";
  std::string text = "validation losses of these groups are over different targets and do not compare:\n";
  for (const auto& [targets, names] : groups) {
    text += cat("  ", targets, ": ", names.front());
    if (names.size() > 1) text += cat(" and ", names.size() - 1, " more");
    text += "\n";
  }
  return text;
}

}  // namespace

std::vector<std::optional<Speed>> speeds_of(const std::vector<const SweepRun*>& runs, const SpeedOptions& options) {
  std::vector<std::optional<Speed>> speeds;
  std::vector<double> operations;  // a second, of finished runs
  for (const SweepRun* run : runs) {
    speeds.push_back(measured_speed(run->folder() / "metrics.jsonl"));
    if (speeds.back() && read_record(*run).status == RunStatus::kFinished)
      operations.push_back(speeds.back()->tokens_per_second * operations_per_token(run->config));
  }
  std::sort(operations.begin(), operations.end());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (speeds[i]) continue;
    if (options.tokens_per_second > 0) {
      speeds[i] = Speed{options.tokens_per_second, "--tokens-per-second"};
    } else if (options.tflops > 0) {
      speeds[i] = estimated_speed(runs[i]->config, options.tflops);
    } else if (!operations.empty()) {
      const double median = operations[operations.size() / 2];
      speeds[i] = Speed{median / operations_per_token(runs[i]->config),
                        cat("estimated: ", short_number(median), "FLOP/s, the median of the finished runs")};
    }
  }
  return speeds;
}

std::string cost_table(const std::vector<const SweepRun*>& runs, const SpeedOptions& options) {
  TextTable table({"run", "status", "parameters", "tokens", "FLOPs", "hours", "tokens/s", "disk"});
  const auto speeds = speeds_of(runs, options);
  std::set<std::string> sources;
  double hours = 0, tokens = 0, flops = 0;
  std::int64_t disk = 0;
  bool all_known = true, has_branches = false;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Plan plan = make_plan(runs[i]->config, speeds[i]);
    const double part = 1 - static_cast<double>(steps_of_trunk(*runs[i], runs)) / static_cast<double>(plan.steps);
    has_branches = has_branches || part < 1;
    const double run_tokens = part * static_cast<double>(plan.tokens), run_flops = plan.training.exact * run_tokens;
    tokens += run_tokens;
    flops += run_flops;
    disk += plan.disk.peak;
    if (speeds[i]) {
      hours += part * *plan.hours();
      sources.insert(speeds[i]->source.starts_with("measured") ? "measured in the run itself" : speeds[i]->source);
    } else {
      all_known = false;
    }
    table.add({runs[i]->name, to_string(own_record(*runs[i]).status),
               short_number(static_cast<double>(plan.parameters.total)), short_number(run_tokens),
               scientific(run_flops), speeds[i] ? short_hours(part * *plan.hours()) : "?",
               speeds[i] ? short_number(speeds[i]->tokens_per_second) : "?", short_bytes(plan.disk.peak)});
  }
  table.add({cat(runs.size(), " runs"), "", "", short_number(tokens), scientific(flops),
             all_known ? short_hours(hours) : "?", "", short_bytes(disk)});
  std::string text =
      table.text() +
      "FLOPs: exact products of training, 3 x forward. Disk: at most, with a checkpoint being written.\n";
  if (has_branches) text += "Of branches: what is trained beyond their trunks.\n";
  text += targets_note(runs, /*measured=*/false);
  for (const std::string& source : sources) text += "speed: " + source + "\n";
  if (!all_known) text += "speed: unknown; give --tokens-per-second (measured) or --tflops (an estimate)\n";
  return text;
}

Json cost_json(const std::vector<const SweepRun*>& runs, const SpeedOptions& options) {
  const auto speeds = speeds_of(runs, options);
  const auto verdicts = designs(runs);
  Json list = Json::array();
  for (std::size_t i = 0; i < runs.size(); ++i) {
    Json line = {{"name", runs[i]->name},
                 {"index", runs[i]->index},
                 {"status", to_string(own_record(*runs[i]).status)},
                 {"plan", to_json(make_plan(runs[i]->config, speeds[i]))}};
    add_place(line, *runs[i]);
    line["law"] = Json();
    for (const auto& [name, verdict] : verdicts)
      if (name == architecture(*runs[i])) line["law"] = cat(name, " ", to_sentence(verdict));
    list.push_back(std::move(line));
  }
  return list;
}

std::string plan_text(const Sweep& sweep, const std::vector<const SweepRun*>& runs) {
  std::string text;
  for (const std::string& note : sweep.notes) text += note + "\n";
  for (const SweepRun* run : runs) {
    if (!run->cell || (run->search && run->search->evaluation > 1)) continue;
    const std::string edge = edge_text(*run->cell);
    if (!edge.empty()) text += cat("edge: ", run->search ? run->search->name : run->name, ": ", edge, "\n");
  }
  for (const auto& [name, verdict] : designs(runs)) text += cat(name, " ", to_sentence(verdict), "\n");
  return text;
}

std::string results_table(const std::vector<const SweepRun*>& runs) {
  std::vector<Json> lines;
  for (const SweepRun* run : runs) lines.push_back(run_line(*run, own_record(*run)));
  // Mixers in the order of the sweep.
  std::map<std::string, std::size_t> order;
  for (const Json& line : lines) order.emplace(line["mixer"].get<std::string>(), order.size());
  std::stable_sort(lines.begin(), lines.end(), [&](const Json& a, const Json& b) {
    const auto key = [&](const Json& line) {
      return std::make_pair(order.at(line["mixer"]), line["flops_exact"].get<double>());
    };
    return key(a) < key(b);
  });
  // Columns that only some sweeps have.
  const bool has_rates = std::any_of(runs.begin(), runs.end(), [](const SweepRun* run) { return run->search; });
  bool has_answers = false;
  std::set<std::string> scales;
  for (const Json& line : lines) {
    has_answers = has_answers || line["accuracy"].is_number();
    if (!line["inner_lr_scales"].is_object()) continue;
    for (const auto& [scale, own] : line["inner_lr_scales"].items()) scales.insert(scale);
  }
  std::vector<std::string> header = {"run",        "status",     "parameters", "tokens",  "FLOPs",
                                     "valid loss", "perplexity", "bits/byte",  "tokens/s"};
  if (has_rates) header.insert(header.end(), {"lr"});
  if (has_answers) header.insert(header.end(), {"accuracy", "answers"});
  for (const std::string& scale : scales) header.push_back("loss, inner lr x " + scale);
  TextTable table(header);
  std::string errors;
  for (const Json& line : lines) {
    const Json& speed = line["tokens_per_second"];
    std::vector<std::string> row = {line["name"],
                                    line["status"],
                                    short_number(line["parameters"]),
                                    short_number(line["tokens"]),
                                    scientific(line["flops_exact"]),
                                    fixed(line["valid_loss"], 4),
                                    fixed(line["perplexity"], 2),
                                    fixed(line["bits_per_byte"], 4),
                                    speed.is_number() ? short_number(speed) : "-"};
    if (has_rates) row.push_back(line["lr"].is_number() ? scientific(line["lr"]) : "?");
    if (has_answers) row.insert(row.end(), {fixed(line["accuracy"], 4), fixed(line["answer_accuracy"], 4)});
    for (const std::string& scale : scales) {
      const Json own = line["inner_lr_scales"].is_object() ? line["inner_lr_scales"].value(scale, Json()) : Json();
      row.push_back(own.is_object() ? fixed(own.value("loss", Json()), 4) : "-");
    }
    table.add(row);
    if (line["error"].is_string())
      errors += cat(line["name"].get<std::string>(), ": ", line["error"].get<std::string>(), "\n");
  }
  return table.text() + targets_note(runs, /*measured=*/true) + errors;
}

}  // namespace ttt
