#include "config/data_sources.h"

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "config/expand_path.h"
#include "config/flow.h"

namespace ttt {
namespace {

double weight_of(const std::string& key, const std::string& text) {
  double weight = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(weight) || weight < 0)
    user_error("'", key, "': weight must be a number of at least 0, not '", text, "'");
  return weight;
}

std::string number_text(double value) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

}  // namespace

DataSources::DataSources(const std::string& path) {
  if (!path.empty()) sources_.push_back({path});
}

std::string DataSources::text() const {
  if (sources_.empty()) return flow_scalar("");
  if (sources_.size() == 1 && sources_[0].weight < 0 && sources_[0].name.empty()) return flow_scalar(sources_[0].path);
  std::vector<FlowRecord> records;
  for (const DataSource& source : sources_) {
    FlowRecord record{{"path", source.path}};
    if (source.weight >= 0) record["weight"] = number_text(source.weight);
    if (!source.name.empty()) record["name"] = source.name;
    records.push_back(std::move(record));
  }
  return to_flow(records, {"path", "weight", "name"});
}

DataSources parse_data_sources(const std::string& key, const std::string& text, bool weighted) {
  if (text.empty()) return {};
  if (text.front() == '"') return DataSources(expand_path(key, parse_flow_list(key, text).front()));
  if (text.front() != '[') return DataSources(expand_path(key, text));
  const std::vector<std::string> columns =
      weighted ? std::vector<std::string>{"path", "weight", "name"} : std::vector<std::string>{"path", "name"};
  std::vector<DataSource> sources;
  double sum = 0;
  std::size_t weights = 0;
  for (const FlowRecord& record : parse_flow_records(key, text, columns)) {
    DataSource source;
    if (record.contains("path")) source.path = expand_path(key, record.at("path"));
    if (source.path.empty()) user_error("entry ", sources.size() + 1, " of '", key, "' has no path; give its folder");
    if (record.contains("name")) source.name = record.at("name");
    if (record.contains("weight")) {
      source.weight = weight_of(key, record.at("weight"));
      sum += source.weight;
      ++weights;
    }
    sources.push_back(std::move(source));
  }
  if (sources.empty()) user_error("'", key, "' is an empty list; give at least one folder");
  if (weights != 0 && weights != sources.size()) {
    user_error("'", key, "' gives ", weights, " of its ", sources.size(),
               " entries a weight; give every entry one, or none (then each counts by its tokens)");
  }
  if (weights != 0 && !(sum > 0)) user_error("the weights of '", key, "' sum to nothing; give at least one above 0");
  return DataSources(std::move(sources));
}

}  // namespace ttt
