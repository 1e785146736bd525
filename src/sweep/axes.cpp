#include "sweep/axes.h"

#include <algorithm>

#include "base/error.h"
#include "config/fields.h"
#include "config/run_config.h"

namespace ttt {
namespace {

bool is_config_key(const std::string& name) {
  RunConfig config;
  const std::vector<Field> fields = fields_of(config);
  return name.find('.') != name.npos ||
         std::any_of(fields.begin(), fields.end(), [&](const Field& field) { return field.key == name; });
}

// A key's value as a config holds it; as written where it is none, which is an error of the run.
std::string as_stored(const std::string& key, const std::string& text) {
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

// Values that a key takes for one, 1e-3 and 0.001, would train the same run twice.
void check_different(const YamlSource& yaml, const Axis& axis, const YAML::Node& node) {
  std::map<std::string, std::string> as_written;
  for (std::size_t i = 0; i < axis.values.size(); ++i) {
    const std::string& text = axis.values[i].name;
    const auto [first, fresh] = as_written.emplace(as_stored(axis.name, text), text);
    if (!fresh) {
      user_error(yaml.place(node[i]), ": the axis '", axis.name, "' has '", text, "'",
                 text == first->second ? " twice" : cat(" and '", first->second, "', which are the same"),
                 "; remove one");
    }
  }
}

}  // namespace

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

std::vector<std::string> read_base(const YamlSource& yaml, const YAML::Node& node) {
  std::vector<std::string> files;
  if (node.IsSequence()) {
    for (const auto& file : node) files.push_back(yaml.path(file, "base"));
  } else {
    files.push_back(yaml.path(node, "base"));
  }
  return files;
}

void read_values(const YamlSource& yaml, const YAML::Node& node, std::vector<Override>& values,
                 const std::string& prefix) {
  for (const auto& item : node) {
    const std::string key = prefix + yaml.word(item.first);
    if (item.second.IsMap()) {
      read_values(yaml, item.second, values, key + ".");
      continue;
    }
    if (key == "output_dir")
      user_error(yaml.place(item.first), ": a run's output_dir is the sweep's output_dir and the run's name");
    values.push_back({key, value_text(item.second), yaml.place(item.first)});
  }
}

Bundle read_bundle(const YamlSource& yaml, const YAML::Node& key, const YAML::Node& node) {
  Bundle bundle;
  if (node.IsNull()) return bundle;
  for (const auto& item : yaml.map(key, node)) {
    if (yaml.word(item.first) == "base") bundle.base = read_base(yaml, item.second);
  }
  std::vector<Override> values;
  read_values(yaml, node, values);
  for (Override& value : values)
    if (value.key != "base") bundle.values.push_back(std::move(value));
  return bundle;
}

Axis read_axis(const YamlSource& yaml, const YAML::Node& key, const YAML::Node& node) {
  Axis axis{yaml.word(key), {}};
  if (node.IsSequence()) {
    for (const auto& item : node) {
      const std::string text = value_text(item);
      AxisValue value{text, safe_name(text), {}};
      if (is_config_key(axis.name)) {
        const auto dot = axis.name.rfind('.');
        value.in_run_name = safe_name((dot == axis.name.npos ? axis.name : axis.name.substr(dot + 1)) + text);
        value.bundle.values.push_back({axis.name, text, yaml.place(item)});
      }
      axis.values.push_back(std::move(value));
    }
  } else {
    for (const auto& item : yaml.map(key, node)) {
      const std::string name = yaml.name_of_run(item.first);
      axis.values.push_back({name, name, read_bundle(yaml, item.first, item.second)});
    }
  }
  if (axis.values.empty()) user_error(yaml.place(key), ": the axis '", axis.name, "' has no values");
  if (node.IsSequence()) check_different(yaml, axis, node);
  return axis;
}

}  // namespace ttt
