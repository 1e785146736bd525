// A sweep file's YAML nodes, read so that every mistake is named with its line.
#pragma once

#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace ttt {

class YamlSource {
 public:
  explicit YamlSource(std::filesystem::path file) : file_(std::move(file)) {}

  const std::filesystem::path& file() const { return file_; }
  YAML::Node parse() const;                               // the whole file, a map
  std::string place(const YAML::Node& node) const;        // "FILE:LINE"
  std::string word(const YAML::Node& node) const;         // not empty
  std::string name_of_run(const YAML::Node& node) const;  // a word that can be a folder's name
  const YAML::Node& map(const YAML::Node& key, const YAML::Node& node) const;
  std::string path(const YAML::Node& node, const std::string& key) const;  // with ~ and ${VAR}
  double positive(const YAML::Node& node, const std::string& key) const;
  std::int64_t count(const YAML::Node& node, const std::string& key) const;  // an integer of at least 1
  bool boolean(const YAML::Node& node, const std::string& key) const;
  std::string choice(const YAML::Node& node, const std::string& key, const std::vector<std::string>& words) const;
  // Throws for a key that is not among `keys`, and for one that is given twice. `what`: "isoflop".
  void check_keys(const std::string& what, const YAML::Node& node, const std::vector<std::string>& keys) const;

 private:
  std::filesystem::path file_;
};

// A value as the config takes it: lists and maps in flow style.
std::string value_text(const YAML::Node& node);

// With '-' for what a folder's name should not have.
std::string safe_name(std::string text);

}  // namespace ttt
