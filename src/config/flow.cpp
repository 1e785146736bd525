#include "config/flow.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "config/load.h"

namespace ttt {
namespace {

YAML::Node parse(const std::string& key, const std::string& text) {
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception& error) {
    user_error("'", key, "' is not a valid list, '", text, "': ", error.msg);
  }
}

}  // namespace

std::vector<std::string> parse_flow_list(const std::string& key, const std::string& text) {
  const YAML::Node node = parse(key, text);
  if (node.IsScalar()) return {node.Scalar()};
  std::vector<std::string> words;
  if (node.IsSequence()) {
    for (const YAML::Node& item : node) {
      if (!item.IsScalar()) user_error("'", key, "' takes a list of single words, such as '[a, b]', not '", text, "'");
      words.push_back(item.Scalar());
    }
  }
  if (words.empty()) user_error("'", key, "' takes one word or a list such as '[a, b]', not '", text, "'");
  return words;
}

std::vector<FlowRecord> parse_flow_records(const std::string& key, const std::string& text,
                                           const std::vector<std::string>& columns) {
  std::string example;
  for (const std::string& column : columns) example += cat(example.empty() ? "" : ", ", column, ": ...");
  const auto refuse = [&] { user_error("'", key, "' takes a list such as '[{", example, "}]', not '", text, "'"); };
  if (text.empty()) return {};
  const YAML::Node node = parse(key, text);
  if (!node.IsSequence()) refuse();
  std::vector<FlowRecord> records;
  for (const YAML::Node& item : node) {
    if (!item.IsMap()) refuse();
    FlowRecord record;
    for (const auto& pair : item) {
      if (!pair.first.IsScalar() || !pair.second.IsScalar()) refuse();
      const std::string& column = pair.first.Scalar();
      if (std::find(columns.begin(), columns.end(), column) == columns.end()) {
        const std::string near = nearest(column, columns);
        user_error("entry ", records.size() + 1, " of '", key, "' has an unknown key '", column, "'; ",
                   near.empty() ? cat("an entry is {", example, "}") : cat("did you mean '", near, "'?"));
      }
      if (!record.emplace(column, pair.second.Scalar()).second)
        user_error("entry ", records.size() + 1, " of '", key, "' gives '", column, "' twice; remove one");
    }
    records.push_back(std::move(record));
  }
  return records;
}

FlowPairs parse_flow_pairs(const std::string& key, const std::string& text) {
  const auto refuse = [&] { user_error("'", key, "' takes a map such as '{a: b, c: d}', not '", text, "'"); };
  FlowPairs pairs;
  const auto add = [&](const std::string& name, const std::string& value) {
    if (name.empty() || value.empty()) refuse();
    for (const auto& [other, unused] : pairs)
      if (other == name) user_error("'", key, "' gives '", name, "' twice; remove one");
    pairs.emplace_back(name, value);
  };
  const YAML::Node node = parse(key, text);
  if (node.IsMap()) {
    for (const auto& pair : node) {
      if (!pair.first.IsScalar() || !pair.second.IsScalar()) refuse();
      add(pair.first.Scalar(), pair.second.Scalar());
    }
  } else if (node.IsScalar()) {
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find(',', begin), text.size()), equals = text.find('=', begin);
      if (equals >= end) refuse();
      add(text.substr(begin, equals - begin), text.substr(equals + 1, end - equals - 1));
      begin = end + 1;
    }
  } else if (!text.empty()) {
    refuse();
  }
  return pairs;
}

std::string to_flow(const FlowPairs& pairs) {
  std::string map;
  for (const auto& [name, value] : pairs)
    map += cat(map.empty() ? "" : ", ", flow_scalar(name), ": ", flow_scalar(value));
  return cat("{", map, "}");
}

std::string flow_scalar(const std::string& text) {
  const bool plain = !text.empty() && text.front() != '-' && text != "null" && text != "." &&
                     std::all_of(text.begin(), text.end(), [](unsigned char c) {
                       return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '/' || c == '-' || c == '+';
                     });
  if (plain) return text;
  YAML::Emitter out;
  out << YAML::DoubleQuoted << text;
  return out.c_str();
}

std::string to_flow(const std::vector<FlowRecord>& records, const std::vector<std::string>& columns) {
  std::string list;
  for (const FlowRecord& record : records) {
    std::string entry;
    for (const std::string& column : columns) {
      if (const auto found = record.find(column); found != record.end())
        entry += cat(entry.empty() ? "" : ", ", column, ": ", flow_scalar(found->second));
    }
    list += cat(list.empty() ? "" : ", ", "{", entry, "}");
  }
  return cat("[", list, "]");
}

}  // namespace ttt
