// data.train and data.valid: one folder, or a list of folders with weights and names.
#pragma once

#include <string>
#include <vector>

namespace ttt {

struct DataSource {
  std::string path;       // a data set, or a folder with domains.json, which stands for its domains' sets
  double weight = -1;     // share of the tokens, relative to the others'; negative: as many tokens as it has
  std::string name = {};  // in metrics; empty: the domain's, else the folder's
};

// "DIR", or "[{path: DIR, weight: 0.7, name: books}, ...]".
class DataSources {
 public:
  DataSources() = default;
  DataSources(const std::string& path);  // one folder; "": none
  DataSources(const char* path) : DataSources(std::string(path)) {}
  explicit DataSources(std::vector<DataSource> sources) : sources_(std::move(sources)) {}

  bool empty() const { return sources_.empty(); }
  const std::vector<DataSource>& list() const { return sources_; }
  // As a config has it.
  std::string text() const;

 private:
  std::vector<DataSource> sources_;
};

// `weighted`: entries may have a weight. Throws UserError naming `key`: an entry without a path, weights that are
// negative, that only some entries have, or that sum to nothing.
DataSources parse_data_sources(const std::string& key, const std::string& text, bool weighted);

}  // namespace ttt
