// Runs as one HTML page that needs nothing outside it.
#pragma once

#include <string>
#include <vector>

#include "report/figure.h"
#include "report/run_log.h"

namespace ttt {

struct Report {
  std::string page;
  std::vector<Figure> figures;  // those of the page, each by itself
};

// A summary of each run, the config keys in which they differ, answers that are right (report/answers.h), losses by
// tokens, FLOPs (exact products, 3 x forward) and seconds, learning rates, throughput, gradient norms, steps that were
// skipped and rollbacks, and the files that all of it comes from, with their hashes. Of results files, whose runs are
// not at hand: their lines, and the answers.
Report report_page(const std::string& title, const std::vector<RunLog>& runs, const std::vector<ResultsFile>& results);

}  // namespace ttt
