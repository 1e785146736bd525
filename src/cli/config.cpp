// ttt config: a config's resolved values, and where each comes from.
#include <algorithm>
#include <iostream>

#include "base/json.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "config/load.h"

namespace ttt {
namespace {

void print(const std::vector<ResolvedKey>& keys) {
  std::size_t key_width = 0, value_width = 0;
  for (const ResolvedKey& key : keys) {
    key_width = std::max(key_width, key.key.size());
    value_width = std::max(value_width, std::min<std::size_t>(key.value.size(), 40));
  }
  for (const ResolvedKey& key : keys) {
    std::string line = key.key;
    line.resize(key_width + 2, ' ');
    line += key.value.empty() ? "-" : key.value;
    line.resize(std::max(line.size() + 2, key_width + value_width + 4), ' ');
    std::cout << line << key.origin << "\n";
  }
}

}  // namespace

ExitCode run_config(const std::vector<std::string>& args) {
  std::string file;
  std::vector<std::string> overrides;
  bool json = false;
  CLI::App app(
      "A config's resolved values and where each comes from: a file's line, the command line, a default, the\n"
      "official code's conventions (parity), or other keys (derived).",
      "ttt config");
  add_config_arguments(app, file, overrides, /*partial=*/false);
  app.add_flag("--json", json, "print one JSON object: key -> value and origin");
  app.footer("`ttt train --help-config` explains the keys.");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  const std::vector<ResolvedKey> keys = explain_config(file, overrides);
  if (!json) {
    print(keys);
    return ExitCode::kOk;
  }
  Json object = Json::object();
  for (const ResolvedKey& key : keys) object[key.key] = {{"value", key.value}, {"origin", key.origin}};
  std::cout << to_line(object);
  return ExitCode::kOk;
}

}  // namespace ttt
