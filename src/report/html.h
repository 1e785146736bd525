// Pieces of the page.
#pragma once

#include <string>
#include <vector>

namespace ttt {

using HtmlRow = std::vector<std::string>;

// Cells are text, escaped here.
std::string html_table(const HtmlRow& header, const std::vector<HtmlRow>& rows);

// As many digits as are given, or "-" for what is not finite.
std::string html_number(double value, int digits = 5);
std::string html_short_number(double value);  // 125M, 1.5k

}  // namespace ttt
