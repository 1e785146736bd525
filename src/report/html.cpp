#include "report/html.h"

#include <cmath>

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

std::string html_number(double value, int digits) {
  return std::isfinite(value) ? chart_number(value, NumberStyle::kPlain, digits) : "-";
}

std::string html_short_number(double value) {
  return std::isfinite(value) ? chart_number(value, NumberStyle::kShort, 3) : "-";
}

}  // namespace ttt
