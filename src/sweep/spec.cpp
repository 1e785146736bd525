#include "sweep/spec.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "config/expand_path.h"
#include "config/load.h"
#include "sweep/axes.h"
#include "sweep/branches.h"
#include "sweep/grid.h"
#include "sweep/lr_search.h"
#include "sweep/record.h"

namespace ttt {
namespace {

constexpr std::size_t kLongestName = 255;  // in bytes, of a folder

const std::vector<std::string> kTopLevel = {"base",   "output_dir", "set",      "axes", "isoflop",
                                            "ladder", "lr_search",  "branches", "runs", "slurm"};

std::string joined(const std::string& a, const std::string& b) {
  return a.empty() || b.empty() ? a + b : a + "_" + b;
}

// "1e+15" -> "1e15".
std::string number_in_name(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), '+'), text.end());
  return safe_name(text);
}

class SweepReader {
 public:
  SweepReader(const fs::path& file, const std::vector<std::string>& overrides)
      : yaml_(file), file_(file), folder_(file.parent_path()) {
    for (const std::string& text : overrides) {
      const auto equals = text.find('=');
      if (equals == text.npos || equals == 0)
        user_error("command line: '", text, "' is not an override; write key=value, such as train.steps=1000");
      const Override value{text.substr(0, equals), text.substr(equals + 1), "command line"};
      if (value.key == "output_dir") {
        output_dir_ = expand_path("output_dir", value.value);
      } else {
        overrides_.push_back(value);
      }
    }
  }

  Sweep read() {
    const YAML::Node root = yaml_.parse();
    for (const auto& item : root) read_top_level(item.first, item.second);
    if (output_dir_.empty()) user_error(file_.string(), ": output_dir is missing; give the folder for the runs");
    if (axes_.empty() && grids_.empty() && runs_.empty())
      user_error(file_.string(), ": a sweep needs 'axes' or 'runs'; `ttt sweep --help` shows one");
    if (search_ && branches_)
      user_error(*branches_, ": branches and lr_search exclude each other: a trunk has one learning rate; search with ",
                 "runs of one length first");
    sweep_.file = file_;
    sweep_.output_dir = output_dir_;
    if (axes_.empty() && !grids_.empty()) axes_.emplace_back();
    for (const std::vector<Axis>& axes : axes_) add_combinations(axes, {}, "", {});
    for (const auto& [name, bundle] : runs_) add_run({name, {}, {&bundle}, /*own_base=*/!bundle.base.empty()});
    if (sweep_.runs.empty())
      user_error(file_.string(), ": no run is left", sweep_.notes.empty() ? "" : "; ",
                 sweep_.notes.empty() ? "" : sweep_.notes.back());
    if (branches_) plan_branches(sweep_, *branches_);
    advance(sweep_);
    return std::move(sweep_);
  }

 private:
  void read_top_level(const YAML::Node& key_node, const YAML::Node& value) {
    const std::string key = yaml_.word(key_node);
    if (!seen_.insert(key).second) user_error(yaml_.place(key_node), ": '", key, "' is given twice; join the two");
    if (key == "base") {
      common_.base = read_base(yaml_, value);
    } else if (key == "output_dir") {
      if (output_dir_.empty()) output_dir_ = yaml_.path(value, key);
    } else if (key == "set") {
      read_values(yaml_, yaml_.map(key_node, value), common_.values);
    } else if (key == "axes") {
      if (!value.IsSequence()) read_axes(key_node, value);
      for (std::size_t i = 0; value.IsSequence() && i < value.size(); ++i) read_axes(key_node, value[i]);
    } else if (key == "isoflop" || key == "ladder") {
      grids_.push_back(read_grid(yaml_, key_node, value));
      if (grids_.back().isoflop && grids_.back().sizes.values.size() < 3)
        sweep_.notes.push_back(cat(grids_.back().place, ": isoflop has ", grids_.back().sizes.values.size(),
                                   " sizes; a parabola wants three or more"));
    } else if (key == "lr_search") {
      search_ = read_lr_search(yaml_, key_node, value);
      sweep_.search_low = search_->low;
      sweep_.search_high = search_->high;
    } else if (key == "branches") {
      if (yaml_.boolean(value, key)) branches_ = yaml_.place(key_node);
    } else if (key == "runs") {
      for (const auto& item : yaml_.map(key_node, value))
        runs_.emplace_back(yaml_.name_of_run(item.first), read_bundle(yaml_, item.first, item.second));
    } else if (key == "slurm") {
      for (const auto& item : yaml_.map(key_node, value))
        sweep_.slurm.emplace_back(yaml_.word(item.first), yaml_.word(item.second));
    } else {
      const std::string near = nearest(key, kTopLevel);
      user_error(yaml_.place(key_node), ": unknown key '", key, "' of a sweep",
                 near.empty() ? std::string("; it has base, output_dir, set, axes, isoflop, ladder, lr_search, "
                                            "branches, runs and slurm")
                              : cat("; did you mean '", near, "'?"));
    }
  }

  void read_axes(const YAML::Node& key, const YAML::Node& node) {
    std::vector<Axis> axes;
    for (const auto& item : yaml_.map(key, node)) axes.push_back(read_axis(yaml_, item.first, item.second));
    if (!axes.empty()) axes_.push_back(std::move(axes));
  }

  // What a run is made of.
  struct Parts {
    std::string name;
    Names names;
    std::vector<const Bundle*> bundles;
    bool own_base = false;
  };

  // Every combination of the axes, the last axis fastest: a run, or with isoflop and ladder their cells.
  void add_combinations(const std::vector<Axis>& axes, std::vector<const Bundle*> bundles, const std::string& name,
                        const Names& names) {
    const std::size_t depth = bundles.size();
    if (depth == axes.size()) {
      if (grids_.empty()) add_run({name, names, bundles});
      for (const GridSpec& grid : grids_) add_grid(grid, {name, names, bundles});
      return;
    }
    bundles.push_back(nullptr);
    for (const AxisValue& value : axes[depth].values) {
      bundles.back() = &value.bundle;
      Names with = names;
      with[axes[depth].name] = value.name;
      add_combinations(axes, bundles, joined(name, value.in_run_name), with);
    }
  }

  void add_grid(const GridSpec& grid, const Parts& parts) {
    for (const std::string& name : {grid.sizes.name, std::string(grid.isoflop ? "budget" : "tokens_per_parameter")}) {
      if (parts.names.count(name) != 0)
        user_error(grid.place, ": ", grid.key(), " fills in {", name, "}, and '", name,
                   "' is an axis, too; rename that axis");
    }
    if (grid.isoflop) {
      for (const auto& [text, budget] : grid.values)
        for (const AxisValue& size : grid.sizes.values) {
          const std::string group = joined(parts.name, "iso" + number_in_name(text));
          add_cell(grid, parts, group, joined(group, size.in_run_name), size, {"budget", text}, budget);
        }
    } else {
      for (const AxisValue& size : grid.sizes.values)
        for (const auto& [text, ratio] : grid.values)
          add_cell(grid, parts, "", joined(joined(parts.name, size.in_run_name), "tpp" + number_in_name(text)), size,
                   {"tokens_per_parameter", text}, ratio);
    }
  }

  void add_cell(const GridSpec& grid, Parts parts, const std::string& group, const std::string& name,
                const AxisValue& size, const std::pair<std::string, std::string>& other, double value) {
    parts.name = name;
    parts.names[grid.sizes.name] = size.name;
    parts.names[other.first] = other.second;
    parts.bundles.push_back(&size.bundle);
    refuse(parts, "train.steps", cat(grid.key(), " sets it from ", grid.isoflop ? "the budgets" : "the tokens"));
    // What its model and batch are does not depend on its steps.
    constexpr std::int64_t kAnyNumber = 1'000'000;
    const double exact = grid_steps(grid, load(parts, {step_override(kAnyNumber, grid.place)}), value);
    if (!(exact >= 0.5)) {
      sweep_.notes.push_back(cat("'", name, "' is left out: ", other.second,
                                 grid.isoflop ? " FLOPs" : " tokens a parameter",
                                 " would be less than half a step (train.batch_tokens is too large for it)"));
      return;
    }
    if (exact > 1e15) user_error(grid.place, ": '", name, "' would have more steps than can be counted; take less");
    const Override steps = step_override(static_cast<std::int64_t>(exact + 0.5), grid.place);
    add_run(parts, {steps}, [&](const RunConfig& config) { return grid_cell(grid, config, group, size.name, value); });
  }

  static Override step_override(std::int64_t steps, const std::string& place) {
    return {"train.steps", std::to_string(steps), place};
  }

  // `key` may not be given by anything but the base files.
  void refuse(const Parts& parts, const std::string& key, const std::string& why) const {
    const auto check = [&](const std::vector<Override>& values) {
      for (const Override& value : values)
        if (value.key == key) user_error(value.place, ": '", key, "' is given, and ", why, "; remove one of the two");
    };
    check(common_.values);
    for (const Bundle* bundle : parts.bundles) check(bundle->values);
    check(overrides_);
  }

  RunConfig load(const Parts& parts, const std::vector<Override>& more) const {
    std::vector<fs::path> files;
    std::vector<Override> values;
    const auto add = [&](const Bundle& bundle, bool with_base) {
      for (const std::string& file : bundle.base)
        if (with_base) files.push_back((folder_ / fill_in(file, parts.names, file_.string())).lexically_normal());
      for (const Override& value : bundle.values)
        values.push_back({value.key, fill_in(value.value, parts.names, value.place), value.place});
    };
    add(common_, !parts.own_base);
    for (const Bundle* bundle : parts.bundles) add(*bundle, true);
    values.insert(values.end(), overrides_.begin(), overrides_.end());
    values.insert(values.end(), more.begin(), more.end());
    values.push_back({"output_dir", (fs::path(output_dir_) / parts.name).string(), file_.string()});
    try {
      return load_run_config(files, values);
    } catch (const UserError& error) {
      user_error(file_.string(), ": run '", parts.name, "': ", error.what());
    }
  }

  void add_run(const Parts& parts, const std::vector<Override>& more = {},
               const std::function<GridCell(const RunConfig&)>& cell = nullptr) {
    if (search_) {
      add_search(parts, more, cell);
      return;
    }
    SweepRun run;
    run.config = load(parts, more);
    if (cell) run.cell = cell(run.config);
    append(std::move(run), parts.name);
  }

  void add_search(const Parts& parts, std::vector<Override> more,
                  const std::function<GridCell(const RunConfig&)>& cell) {
    refuse(parts, "optim.lr", "lr_search sets it");
    LrSearch search;
    search.name = parts.name;
    std::ostringstream low;
    low << search_->low;
    more.push_back({"optim.lr", low.str(), search_->place});  // the lowest rate has to fit the schedule, too
    for (int evaluation = 1; evaluation <= search_->evaluations; ++evaluation) {
      Parts own = parts;
      own.name = cat(parts.name, "_search", evaluation);
      SweepRun run;
      run.config = load(own, more);
      if (run.config.data.valid.empty())
        user_error(search_->place, ": lr_search judges runs by their validation loss, and '", parts.name,
                   "' has no data.valid; give it");
      if (cell) run.cell = cell(run.config);
      run.search = SearchPlace{sweep_.searches.size(), parts.name, evaluation, false, {}};
      search.runs.push_back(sweep_.runs.size());
      append(std::move(run), own.name);
    }
    sweep_.searches.push_back(std::move(search));
  }

  void append(SweepRun run, const std::string& name) {
    const auto same = [&](const SweepRun& other) { return other.name == name; };
    if (std::any_of(sweep_.runs.begin(), sweep_.runs.end(), same))
      user_error(file_.string(), ": two runs have the name '", name, "'; rename one");
    if (name.size() > kLongestName) {
      user_error(file_.string(), ": the run '", name.substr(0, 60), "...' has a name of ", name.size(),
                 " bytes, and a folder's has at most ", kLongestName,
                 "; give the axis' values names, as in 'AXIS: {NAME: {KEY: VALUE}}'");
    }
    run.index = sweep_.runs.size();
    run.name = name;
    sweep_.runs.push_back(std::move(run));
  }

  YamlSource yaml_;
  fs::path file_, folder_;
  std::string output_dir_;
  std::vector<Override> overrides_;
  std::set<std::string> seen_;
  Bundle common_;
  std::vector<std::vector<Axis>> axes_;
  std::vector<GridSpec> grids_;
  std::optional<LrSearchSpec> search_;
  std::optional<std::string> branches_;  // where it is asked for
  std::vector<std::pair<std::string, Bundle>> runs_;
  Sweep sweep_;
};

}  // namespace

Sweep read_sweep(const fs::path& file, const std::vector<std::string>& overrides) {
  return SweepReader(file, overrides).read();
}

std::string config_hash(const RunConfig& config) {
  RunConfig copy = config;
  copy.output_dir.clear();
  copy.branch_from.clear();
  copy.checkpoint.keep_steps.clear();
  copy.train.threads = 0;
  return hex64(xxh3(to_yaml(copy)));
}

}  // namespace ttt
