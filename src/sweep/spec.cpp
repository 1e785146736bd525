#include "sweep/spec.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "config/expand_path.h"
#include "config/fields.h"
#include "config/load.h"
#include "config/yaml_file.h"

namespace ttt {
namespace {

// What one place of the file adds to a run.
struct Bundle {
  std::vector<std::string> base;
  std::vector<Override> values;
};

struct AxisValue {
  std::string name;  // for {axis} and, unless it repeats the axis' key, for the run's name
  std::string in_run_name;
  Bundle bundle;
};

struct Axis {
  std::string name;
  std::vector<AxisValue> values;
};

using Names = std::map<std::string, std::string>;  // axis -> name of the value taken

// "{mixer}_{size}.yaml" -> "ttt_linear_125m.yaml".
std::string fill_in(const std::string& text, const Names& names, const std::string& place) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto open = text.find('{', at), close = text.find('}', open == text.npos ? at : open);
    // Flow maps ("[{path: a}]") are values, "${VAR}" is the environment's: neither is a place to fill in.
    const bool is_word = open != text.npos && close != text.npos && open < close &&
                         text.find_first_of(" :,{[", open + 1) > close && (open == 0 || text[open - 1] != '$');
    if (!is_word) {
      const auto end = open == text.npos ? text.size() : open + 1;
      out += text.substr(at, end - at);
      at = end;
      continue;
    }
    const std::string word = text.substr(open + 1, close - open - 1);
    const auto found = names.find(word);
    if (found == names.end()) {
      std::vector<std::string> axes;
      for (const auto& [axis, value] : names) axes.push_back(axis);
      const std::string near = nearest(word, axes);
      user_error(place, ": '{", word, "}' names no axis of this run",
                 near.empty() ? "" : cat("; did you mean '{", near, "}'?"));
    }
    out += text.substr(at, open - at) + found->second;
    at = close + 1;
  }
  return out;
}

constexpr std::size_t kLongestName = 255;  // in bytes, of a folder

std::string safe_name(std::string text) {
  for (char& c : text)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-' && c != '_') c = '-';
  return text;
}

bool is_config_key(const std::string& name) {
  RunConfig config;
  const std::vector<Field> fields = fields_of(config);
  return name.find('.') != name.npos ||
         std::any_of(fields.begin(), fields.end(), [&](const Field& field) { return field.key == name; });
}

class SweepReader {
 public:
  SweepReader(const fs::path& file, const std::vector<std::string>& overrides)
      : file_(file), folder_(file.parent_path()) {
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
    const YAML::Node root = parse();
    for (const auto& item : root) read_top_level(item.first, item.second);
    if (output_dir_.empty()) user_error(file_.string(), ": output_dir is missing; give the folder for the runs");
    if (grids_.empty() && runs_.empty())
      user_error(file_.string(), ": a sweep needs 'axes' or 'runs'; `ttt sweep --help` shows one");
    sweep_.file = file_;
    sweep_.output_dir = output_dir_;
    for (const std::vector<Axis>& axes : grids_) add_grid(axes, {}, "", {});
    for (const auto& [name, bundle] : runs_) add_run(name, {}, {&bundle}, /*own_base=*/!bundle.base.empty());
    return std::move(sweep_);
  }

 private:
  YAML::Node parse() const {
    if (!fs::is_regular_file(file_)) {
      const std::string near = nearest_path(file_);
      user_error("there is no sweep file '", file_.string(),
                 near.empty() ? "'; check the path" : cat("'; did you mean '", near, "'?"));
    }
    const YAML::Node root = read_yaml(file_);
    if (!root.IsMap()) user_error(file_.string(), ":1: a sweep is a map with the keys base, output_dir, axes, runs");
    return root;
  }

  std::string place(const YAML::Node& node) const { return cat(file_.string(), ":", node.Mark().line + 1); }

  void read_top_level(const YAML::Node& key_node, const YAML::Node& value) {
    const std::string key = word(key_node);
    if (!seen_.insert(key).second) user_error(place(key_node), ": '", key, "' is given twice; join the two");
    if (key == "base") {
      common_.base = read_base(value);
    } else if (key == "output_dir") {
      if (output_dir_.empty()) output_dir_ = path(value, key);
    } else if (key == "set") {
      read_values(map(key_node, value), "", common_.values);
    } else if (key == "axes") {
      if (!value.IsSequence()) read_axes(key_node, value);
      for (std::size_t i = 0; value.IsSequence() && i < value.size(); ++i) read_axes(key_node, value[i]);
    } else if (key == "runs") {
      for (const auto& item : map(key_node, value))
        runs_.emplace_back(run_name(item.first), read_bundle(item.first, item.second));
    } else if (key == "slurm") {
      for (const auto& item : map(key_node, value)) sweep_.slurm.emplace_back(word(item.first), word(item.second));
    } else {
      const std::string near = nearest(key, {"base", "output_dir", "set", "axes", "runs", "slurm"});
      user_error(place(key_node), ": unknown key '", key, "' of a sweep",
                 near.empty() ? std::string("; it has base, output_dir, set, axes, runs and slurm")
                              : cat("; did you mean '", near, "'?"));
    }
  }

  std::string word(const YAML::Node& node) const {
    if (!node.IsScalar() || node.Scalar().empty()) user_error(place(node), ": a single word is expected here");
    return node.Scalar();
  }

  std::string run_name(const YAML::Node& node) const {
    const std::string name = word(node);
    if (name != safe_name(name) || name.front() == '.')
      user_error(place(node), ": '", name, "' is no name for a run; use letters, digits, '.', '-' and '_'");
    return name;
  }

  const YAML::Node& map(const YAML::Node& key, const YAML::Node& node) const {
    if (!node.IsMap()) user_error(place(key), ": '", key.Scalar(), "' takes keys below it");
    return node;
  }

  std::vector<std::string> read_base(const YAML::Node& node) const {
    std::vector<std::string> files;
    if (node.IsSequence()) {
      for (const auto& file : node) files.push_back(path(file, "base"));
    } else {
      files.push_back(path(node, "base"));
    }
    return files;
  }

  std::string path(const YAML::Node& node, const std::string& key) const {
    try {
      return expand_path(key, word(node));
    } catch (const UserError& error) {
      const std::string message = error.what();
      user_error(message.starts_with(file_.string()) ? "" : place(node) + ": ", message);
    }
  }

  // Keys may be dotted, or sections with keys below them.
  void read_values(const YAML::Node& node, const std::string& prefix, std::vector<Override>& values) const {
    for (const auto& item : node) {
      const std::string key = prefix + word(item.first);
      if (item.second.IsMap()) {
        read_values(item.second, key + ".", values);
        continue;
      }
      if (key == "output_dir")
        user_error(place(item.first), ": a run's output_dir is the sweep's output_dir and the run's name");
      values.push_back({key, value_text(item.second), place(item.first)});
    }
  }

  static std::string value_text(const YAML::Node& node) {
    if (node.IsNull()) return "";
    if (node.IsScalar()) return node.Scalar();
    YAML::Emitter out;
    out.SetSeqFormat(YAML::Flow);
    out.SetMapFormat(YAML::Flow);
    out << node;
    return out.c_str();
  }

  Bundle read_bundle(const YAML::Node& key, const YAML::Node& node) const {
    Bundle bundle;
    if (node.IsNull()) return bundle;
    for (const auto& item : map(key, node)) {
      if (word(item.first) == "base") bundle.base = read_base(item.second);
    }
    std::vector<Override> values;
    read_values(node, "", values);
    for (Override& value : values)
      if (value.key != "base") bundle.values.push_back(std::move(value));
    return bundle;
  }

  void read_axes(const YAML::Node& key, const YAML::Node& node) {
    std::vector<Axis> axes;
    for (const auto& item : map(key, node)) axes.push_back(read_axis(item.first, item.second));
    if (!axes.empty()) grids_.push_back(std::move(axes));
  }

  Axis read_axis(const YAML::Node& key, const YAML::Node& node) const {
    Axis axis{word(key), {}};
    if (node.IsSequence()) {
      for (const auto& item : node) {
        const std::string text = value_text(item);
        AxisValue value{text, safe_name(text), {}};
        if (is_config_key(axis.name)) {
          const auto dot = axis.name.rfind('.');
          value.in_run_name = safe_name((dot == axis.name.npos ? axis.name : axis.name.substr(dot + 1)) + text);
          value.bundle.values.push_back({axis.name, text, place(item)});
        }
        axis.values.push_back(std::move(value));
      }
    } else {
      for (const auto& item : map(key, node)) {
        const std::string name = run_name(item.first);
        axis.values.push_back({name, name, read_bundle(item.first, item.second)});
      }
    }
    if (axis.values.empty()) user_error(place(key), ": the axis '", axis.name, "' has no values");
    if (node.IsSequence()) check_different(axis, node);
    return axis;
  }

  // Values that a key takes for one, 1e-3 and 0.001, would train the same run twice.
  void check_different(const Axis& axis, const YAML::Node& node) const {
    std::map<std::string, std::string> as_written;
    for (std::size_t i = 0; i < axis.values.size(); ++i) {
      const std::string& text = axis.values[i].name;
      const auto [first, fresh] = as_written.emplace(as_stored(axis.name, text), text);
      if (!fresh) {
        user_error(place(node[i]), ": the axis '", axis.name, "' has '", text, "'",
                   text == first->second ? " twice" : cat(" and '", first->second, "', which are the same"),
                   "; remove one");
      }
    }
  }

  // A key's value as a config holds it; as written where it is none, which is an error of the run.
  static std::string as_stored(const std::string& key, const std::string& text) {
    RunConfig config;
    for (const Field& field : fields_of(config)) {
      if (field.key != key) continue;
      try {
        field.set(text);
        return field.get();
      } catch (const UserError&) {
        return text;
      }
    }
    return text;
  }

  // Every combination, the last axis fastest.
  void add_grid(const std::vector<Axis>& axes, std::vector<const Bundle*> bundles, const std::string& name,
                const Names& names) {
    const std::size_t depth = bundles.size();
    if (depth == axes.size()) {
      add_run(name, names, bundles, /*own_base=*/false);
      return;
    }
    bundles.push_back(nullptr);
    for (const AxisValue& value : axes[depth].values) {
      bundles.back() = &value.bundle;
      Names with = names;
      with[axes[depth].name] = value.name;
      add_grid(axes, bundles, name.empty() ? value.in_run_name : name + "_" + value.in_run_name, with);
    }
  }

  void add_run(const std::string& name, const Names& names, const std::vector<const Bundle*>& bundles, bool own_base) {
    const auto same = [&](const SweepRun& run) { return run.name == name; };
    if (std::any_of(sweep_.runs.begin(), sweep_.runs.end(), same))
      user_error(file_.string(), ": two runs have the name '", name, "'; rename one");
    if (name.size() > kLongestName) {
      user_error(file_.string(), ": the run '", name.substr(0, 60), "...' has a name of ", name.size(),
                 " bytes, and a folder's has at most ", kLongestName,
                 "; give the axis' values names, as in 'AXIS: {NAME: {KEY: VALUE}}'");
    }
    std::vector<fs::path> files;
    std::vector<Override> values;
    const auto add = [&](const Bundle& bundle, bool with_base) {
      for (const std::string& file : bundle.base)
        if (with_base) files.push_back((folder_ / fill_in(file, names, file_.string())).lexically_normal());
      for (const Override& value : bundle.values)
        values.push_back({value.key, fill_in(value.value, names, value.place), value.place});
    };
    add(common_, !own_base);
    for (const Bundle* bundle : bundles) add(*bundle, true);
    values.insert(values.end(), overrides_.begin(), overrides_.end());
    values.push_back({"output_dir", (fs::path(output_dir_) / name).string(), file_.string()});
    SweepRun run;
    run.index = sweep_.runs.size();
    run.name = name;
    try {
      run.config = load_run_config(files, values);
    } catch (const UserError& error) {
      user_error(file_.string(), ": run '", name, "': ", error.what());
    }
    sweep_.runs.push_back(std::move(run));
  }

  fs::path file_, folder_;
  std::string output_dir_;
  std::vector<Override> overrides_;
  std::set<std::string> seen_;
  Bundle common_;
  std::vector<std::vector<Axis>> grids_;
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
  copy.train.threads = 0;
  return hex64(xxh3(to_yaml(copy)));
}

}  // namespace ttt
