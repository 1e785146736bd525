// From the declarations in config/fields.cpp to a page.
#include "cli/help_config.h"

#include <sstream>

#include "base/error.h"
#include "config/fields.h"

namespace ttt {
namespace {

constexpr std::size_t kColumns = 100, kKeyColumn = 2, kDefaultColumn = 28, kMeaningColumn = 42;

// Appends `words` to `page`, whose last line stands at kMeaningColumn, and wraps.
void append_wrapped(std::string& page, const std::string& words) {
  std::istringstream in(words);
  std::size_t column = kMeaningColumn;
  for (std::string word; in >> word;) {
    if (column > kMeaningColumn && column + 1 + word.size() > kColumns) {
      page += "\n" + std::string(kMeaningColumn, ' ');
      column = kMeaningColumn;
    }
    if (column > kMeaningColumn) {
      page += ' ';
      ++column;
    }
    page += word;
    column += word.size();
  }
  page += "\n";
}

}  // namespace

std::string config_keys_text() {
  RunConfig config;
  std::string page =
      "Every key of a config: its default and meaning [type, unit]. In a file, 'SECTION:' and below it\n"
      "'KEY: VALUE'; on the command line SECTION.KEY=VALUE. Integers may be written 524288, 512Ki, 0.5M\n"
      "or 1e6. `extends: FILE` or `extends: [FILE, FILE]` takes the values of other files first.\n";
  std::string section = "none yet";
  for (const Field& field : fields_of(config)) {
    const auto dot = field.key.find('.');
    const std::string own = dot == std::string::npos ? "" : field.key.substr(0, dot);
    if (own != section) page += own.empty() ? "\nat the top:\n" : cat("\n", own, ":\n");
    section = own;
    std::string line = std::string(kKeyColumn, ' ') + (own.empty() ? field.key : field.key.substr(dot + 1));
    line.resize(std::max(kDefaultColumn, line.size() + 2), ' ');
    const std::string value = field.get();
    line += value.empty() ? "-" : value;
    line.resize(std::max(kMeaningColumn, line.size() + 2), ' ');
    page += line;
    append_wrapped(page, cat(field.help, " [", field.type, field.unit.empty() ? "" : ", ", field.unit, "]"));
  }
  return page;
}

Json config_keys_json() {
  RunConfig config;
  Json keys = Json::array();
  for (const Field& field : fields_of(config))
    keys.push_back({{"key", field.key},
                    {"type", field.type},
                    {"unit", field.unit},
                    {"default", field.get()},
                    {"help", field.help}});
  return keys;
}

}  // namespace ttt
