#include "sweep/yaml_source.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "config/expand_path.h"
#include "config/fields.h"
#include "config/load.h"
#include "config/yaml_file.h"

namespace ttt {

YAML::Node YamlSource::parse() const {
  if (!fs::is_regular_file(file_)) {
    const std::string near = nearest_path(file_);
    user_error("there is no sweep file '", file_.string(),
               near.empty() ? "'; check the path" : cat("'; did you mean '", near, "'?"));
  }
  const YAML::Node root = read_yaml(file_);
  if (!root.IsMap()) user_error(file_.string(), ":1: a sweep is a map with the keys base, output_dir, axes, runs");
  return root;
}

std::string YamlSource::place(const YAML::Node& node) const {
  return cat(file_.string(), ":", node.Mark().line + 1);
}

std::string YamlSource::word(const YAML::Node& node) const {
  if (!node.IsScalar() || node.Scalar().empty()) user_error(place(node), ": a single word is expected here");
  return node.Scalar();
}

std::string YamlSource::name_of_run(const YAML::Node& node) const {
  const std::string name = word(node);
  if (name != safe_name(name) || name.front() == '.')
    user_error(place(node), ": '", name, "' is no name for a run; use letters, digits, '.', '-' and '_'");
  return name;
}

const YAML::Node& YamlSource::map(const YAML::Node& key, const YAML::Node& node) const {
  if (!node.IsMap()) user_error(place(key), ": '", key.Scalar(), "' takes keys below it");
  return node;
}

std::string YamlSource::path(const YAML::Node& node, const std::string& key) const {
  try {
    return expand_path(key, word(node));
  } catch (const UserError& error) {
    const std::string message = error.what();
    user_error(message.starts_with(file_.string()) ? "" : place(node) + ": ", message);
  }
}

double YamlSource::positive(const YAML::Node& node, const std::string& key) const {
  const std::string text = word(node);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || !(value > 0))
    user_error(place(node), ": '", key, "' must be a number above 0, not '", text, "'");
  return value;
}

std::int64_t YamlSource::count(const YAML::Node& node, const std::string& key) const {
  const std::string text = word(node);
  std::int64_t value = 0;
  if (!parse_integer(text, value) || value < 1)
    user_error(place(node), ": '", key, "' must be an integer of at least 1, not '", text, "'");
  return value;
}

bool YamlSource::boolean(const YAML::Node& node, const std::string& key) const {
  return choice(node, key, {"true", "false"}) == "true";
}

std::string YamlSource::choice(const YAML::Node& node, const std::string& key,
                               const std::vector<std::string>& words) const {
  const std::string text = word(node);
  if (std::find(words.begin(), words.end(), text) != words.end()) return text;
  std::string list;
  for (std::size_t i = 0; i < words.size(); ++i)
    list += cat(i == 0 ? "" : i + 1 == words.size() ? " or " : ", ", words[i]);
  const std::string near = nearest(text, words);
  user_error(place(node), ": '", key, "' must be ", list, ", not '", text, "'",
             near.empty() ? "" : cat("; did you mean '", near, "'?"));
}

void YamlSource::check_keys(const std::string& what, const YAML::Node& node,
                            const std::vector<std::string>& keys) const {
  std::set<std::string> seen;
  for (const auto& item : node) {
    const std::string key = word(item.first);
    if (!seen.insert(key).second) user_error(place(item.first), ": '", key, "' is given twice; join the two");
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    std::string list;
    for (std::size_t i = 0; i < keys.size(); ++i)
      list += cat(i == 0 ? "" : i + 1 == keys.size() ? " and " : ", ", keys[i]);
    const std::string near = nearest(key, keys);
    user_error(place(item.first), ": unknown key '", key, "' of ", what,
               near.empty() ? cat("; it has ", list) : cat("; did you mean '", near, "'?"));
  }
}

std::string value_text(const YAML::Node& node) {
  if (node.IsNull()) return "";
  if (node.IsScalar()) return node.Scalar();
  YAML::Emitter out;
  out.SetSeqFormat(YAML::Flow);
  out.SetMapFormat(YAML::Flow);
  out << node;
  return out.c_str();
}

std::string safe_name(std::string text) {
  for (char& c : text)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-' && c != '_') c = '-';
  return text;
}

}  // namespace ttt
