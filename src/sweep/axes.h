// The axes of a sweep file: names, and what each adds to a run.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/load.h"
#include "sweep/yaml_source.h"

namespace ttt {

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
std::string fill_in(const std::string& text, const Names& names, const std::string& place);

std::vector<std::string> read_base(const YamlSource& yaml, const YAML::Node& node);

// Adds the keys below `node`, which may be dotted, or sections with keys below them.
void read_values(const YamlSource& yaml, const YAML::Node& node, std::vector<Override>& values,
                 const std::string& prefix = "");

Bundle read_bundle(const YamlSource& yaml, const YAML::Node& key, const YAML::Node& node);

// A list of names or of a config key's values, or bundles of keys under names.
Axis read_axis(const YamlSource& yaml, const YAML::Node& key, const YAML::Node& node);

}  // namespace ttt
