// Tables of results: CSV with a line of names, or JSON Lines, one object a row.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"

namespace ttt {

class DataTable {
 public:
  // What the content looks like decides: a first character '{' makes it JSON Lines, anything else CSV. CSV may quote
  // cells ("" inside is a quote) and separate them with commas, semicolons or tabs, whichever the line of names has
  // most of. In JSON Lines an object inside a row has columns named OUTER.INNER; null is an empty cell. Throws
  // UserError with file and line for what is neither.
  explicit DataTable(const fs::path& path);

  const fs::path& path() const { return path_; }
  bool is_json_lines() const { return is_json_lines_; }
  std::size_t rows() const { return rows_.size(); }
  const std::vector<std::string>& columns() const { return columns_; }
  std::optional<std::size_t> find(const std::string& column) const;
  // Throws UserError that lists the columns where there is none of that name, or two.
  std::size_t column(const std::string& name) const;

  // "" where the row has none.
  const std::string& cell(std::size_t row, std::size_t column) const;
  // The cell as a number above zero; throws UserError with file, line and column where it is none.
  double positive(std::size_t row, std::size_t column) const;
  std::int64_t line(std::size_t row) const { return rows_[row].line; }
  std::string place(std::size_t row) const;  // "runs.csv:12"

 private:
  struct Row {
    std::int64_t line = 0;  // where it begins, from 1
    std::vector<std::string> cells;
  };
  void read_csv(const std::string& text);
  void read_json_lines(const std::string& text);

  fs::path path_;
  bool is_json_lines_ = false;
  std::vector<std::string> columns_;
  std::vector<Row> rows_;
};

}  // namespace ttt
