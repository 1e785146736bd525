#include "report/html.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "chart/svg.h"
#include "chart/ticks.h"

namespace ttt {

std::string html_table(const HtmlRow& header, const std::vector<HtmlRow>& rows) {
  std::string out = "<table>\n<tr>";
  for (const std::string& cell : header) out += "<th>" + xml_escape(cell) + "</th>";
  out += "</tr>\n";
  for (const HtmlRow& row : rows) {
    out += "<tr>";
    for (const std::string& cell : row) out += "<td>" + xml_escape(cell) + "</td>";
    out += "</tr>\n";
  }
  return out + "</table>\n";
}

std::string html_note(const std::string& text) {
  return "<p class=\"note\">" + xml_escape(text) + "</p>\n";
}

std::string from_files(const std::vector<std::string>& files) {
  constexpr std::size_t kNamed = 3;
  std::vector<std::string> each;
  for (const std::string& file : files)
    if (std::find(each.begin(), each.end(), file) == each.end()) each.push_back(file);
  std::string out = "From ";
  for (std::size_t i = 0; i < std::min(each.size(), kNamed); ++i) out += (i > 0 ? ", " : "") + each[i];
  if (each.size() > kNamed) out += cat(" and ", each.size() - kNamed, " more, all of them under Sources");
  return out + ".";
}

std::string html_number(double value, int digits) {
  return std::isfinite(value) ? chart_number(value, NumberStyle::kPlain, digits) : "-";
}

std::string html_short_number(double value) {
  return std::isfinite(value) ? chart_number(value, NumberStyle::kShort, 3) : "-";
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

}  // namespace ttt
