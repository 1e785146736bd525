// A chart of a report, which is also a file of its own: NAME.svg, and its numbers as NAME.csv.
#pragma once

#include <string>

#include "chart/chart.h"

namespace ttt {

struct Figure {
  std::string name;  // of files: letters, digits, _
  Chart chart;
};

// A text as part of such a name.
std::string figure_name(const std::string& text);

}  // namespace ttt
