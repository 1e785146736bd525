// What runs lose by position, and in their inner loops.
#pragma once

#include <string>
#include <vector>

#include "report/figure.h"
#include "report/run_log.h"

namespace ttt {

// A chart for each validation set: the last loss by position of each run, with its intervals. Appends the figures.
std::string positions_section(const std::vector<RunLog>& runs, std::vector<Figure>& figures);

// For each run with TTT layers, of the first few, a chart for each layer: its inner losses by position, of the last
// step that has them. Appends the figures.
std::string inner_losses_section(const std::vector<RunLog>& runs, std::vector<Figure>& figures);

}  // namespace ttt
