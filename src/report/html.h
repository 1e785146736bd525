// Pieces of the page.
#pragma once

#include <string>
#include <vector>

namespace ttt {

using HtmlRow = std::vector<std::string>;

// Cells are text, escaped here.
std::string html_table(const HtmlRow& header, const std::vector<HtmlRow>& rows);

// A small line below a table or a figure. Text, escaped here.
std::string html_note(const std::string& text);

// "From a/metrics.jsonl, b/metrics.jsonl.": each once, the first few by name, and how many more the sources list.
std::string from_files(const std::vector<std::string>& files);

// As many digits as are given, or "-" for what is not finite.
std::string html_number(double value, int digits = 5);
std::string html_short_number(double value);  // 125M, 1.5k

std::string joined(const std::vector<std::string>& names);  // "a, b"

}  // namespace ttt
