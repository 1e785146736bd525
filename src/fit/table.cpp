#include "fit/table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/json.h"

namespace ttt {
namespace {

constexpr std::size_t kMostColumns = 10000;

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// What separates the names: of comma, semicolon and tab the most frequent outside quotes.
char separator_of(const std::string& text) {
  std::map<char, int> found;
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '\n') break;
    if (c == ',' || c == ';' || c == '\t') ++found[c];
  }
  char best = ',';
  for (const auto& [c, count] : found) {
    if (count > found[best]) best = c;
  }
  return best;
}

struct CsvLine {
  std::int64_t line = 0;
  std::vector<std::string> cells;
};

// The cells of the file, RFC 4180: line feeds may be inside quotes; empty lines are passed over.
std::vector<CsvLine> split_csv(const std::string& text, char separator, const std::string& path) {
  std::vector<CsvLine> lines;
  CsvLine current{1, {}};
  std::string cell;
  std::int64_t line = 1, opened = 0;
  bool quoted = false, was_quoted = false;
  const auto end_cell = [&] {
    current.cells.push_back(was_quoted ? cell : trimmed(cell));
    cell.clear();
    was_quoted = false;
  };
  const auto end_line = [&] {
    const bool empty = current.cells.empty() && !was_quoted && trimmed(cell).empty();
    end_cell();
    if (!empty) lines.push_back(std::move(current));
    current = {line, {}};
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (quoted) {
      if (c != '"') {
        cell += c;
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        cell += '"';
        ++i;
      } else {
        quoted = false;
      }
    } else if (c == '"' && trimmed(cell).empty() && !was_quoted) {
      cell.clear();
      quoted = was_quoted = true;
      opened = line;
    } else if (c == separator) {
      end_cell();
    } else if (c == '\n') {
      end_line();
    } else if (c != '\r') {
      cell += c;
    }
  }
  if (quoted) user_error("'", path, "', line ", opened, ": a quote is opened and never closed");
  if (!current.cells.empty() || !cell.empty() || was_quoted) end_line();
  return lines;
}

// The members of a row's object, those of objects inside it as OUTER.INNER, three deep.
void flatten(const Json& object, const std::string& prefix, int depth, std::map<std::string, std::size_t>& index,
             std::vector<std::string>& columns, std::vector<std::string>& cells) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) {
      if (depth < 3) flatten(value, prefix + key + ".", depth + 1, index, columns, cells);
      continue;
    }
    if (value.is_array()) continue;
    const auto [found, added] = index.emplace(prefix + key, columns.size());
    if (added) columns.push_back(prefix + key);
    if (cells.size() <= found->second) cells.resize(found->second + 1);
    cells[found->second] = value.is_null()     ? ""
                           : value.is_string() ? value.get<std::string>()
                                               : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
}

}  // namespace

DataTable::DataTable(const fs::path& path) : path_(path) {
  std::string text = read_file(path);
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) user_error("'", path_.string(), "' is empty; a table of results is wanted");
  if (text.find('\0') != std::string::npos)
    user_error("'", path_.string(), "' is no text; CSV or JSON Lines with one run a line is wanted");
  is_json_lines_ = text[first] == '{';
  if (is_json_lines_)
    read_json_lines(text);
  else
    read_csv(text);
}

void DataTable::read_csv(const std::string& text) {
  auto lines = split_csv(text, separator_of(text), path_.string());
  if (lines.empty()) user_error("'", path_.string(), "' is empty; a table of results is wanted");
  columns_ = std::move(lines.front().cells);
  for (std::size_t i = 1; i < lines.size(); ++i) {
    if (lines[i].cells.size() != columns_.size())
      user_error("'", path_.string(), "', line ", lines[i].line, " has ", lines[i].cells.size(),
                 " cells, and the line of names has ", columns_.size());
    rows_.push_back({lines[i].line, std::move(lines[i].cells)});
  }
}

void DataTable::read_json_lines(const std::string& text) {
  std::map<std::string, std::size_t> index;
  std::istringstream stream(text);
  std::int64_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object())
      user_error("'", path_.string(), "', line ", number, " is no JSON object; JSON Lines have one on each line");
    Row row{number, {}};
    flatten(json, "", 0, index, columns_, row.cells);
    if (columns_.size() > kMostColumns)
      user_error("'", path_.string(), "', line ", number, ": more than ", kMostColumns,
                 " different names; this is no table of runs");
    rows_.push_back(std::move(row));
  }
}

std::optional<std::size_t> DataTable::find(const std::string& column) const {
  const auto found = std::find(columns_.begin(), columns_.end(), column);
  if (found == columns_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - columns_.begin());
}

std::size_t DataTable::column(const std::string& name) const {
  const auto count = std::count(columns_.begin(), columns_.end(), name);
  if (count > 1) user_error("'", path_.string(), "' has ", count, " columns named '", name, "'; name them apart");
  if (count == 1) return *find(name);
  std::string names;
  for (std::size_t i = 0; i < columns_.size() && i < 40; ++i) names += (i == 0 ? "'" : ", '") + columns_[i] + "'";
  user_error("'", path_.string(), "' has no column '", name, "'; it has ", names,
             columns_.size() > 40 ? cat(" and ", columns_.size() - 40, " more") : "");
}

const std::string& DataTable::cell(std::size_t row, std::size_t column) const {
  static const std::string none;
  const auto& cells = rows_[row].cells;
  return column < cells.size() ? cells[column] : none;
}

double DataTable::positive(std::size_t row, std::size_t column) const {
  const std::string text = trimmed(cell(row, column));
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto complain = [&](const std::string& what) {
    user_error("'", path_.string(), "', line ", line(row), ", column '", columns_[column], "': ", what);
  };
  if (text.empty()) complain("the cell is empty; a number is wanted");
  if (error != std::errc() || end != text.data() + text.size()) complain(cat("'", text, "' is no number"));
  if (!std::isfinite(value) || value <= 0) complain(cat(text, " is not above zero, and its logarithm is needed"));
  return value;
}

std::string DataTable::place(std::size_t row) const {
  return cat(path_.filename().string(), ":", line(row));
}

}  // namespace ttt
