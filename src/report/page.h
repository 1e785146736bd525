// Runs as one HTML page that needs nothing outside it.
#pragma once

#include <string>
#include <vector>

#include "report/figure.h"
#include "report/run_log.h"
#include "report/scaling.h"

namespace ttt {

struct Report {
  std::string page;
  std::vector<Figure> figures;  // those of the page, each by itself
};

// A summary of each run, the config keys in which they differ, answers that are right (report/answers.h), of results
// files losses against FLOPs and parameters with the law that they identify (report/scaling.h), spreads over seeds
// (report/seeds.h), losses by tokens, FLOPs (exact products, 3 x forward) and seconds, learning rates, throughput,
// gradient norms, losses by position and inner losses (report/positions.h), failures and resumes (report/events.h), the
// lines of results files, and the files that all of it comes from, with their hashes. What the files do not hold is
// said. memory: of the page before this one.
Report report_page(const std::string& title, const std::vector<RunLog>& runs, const std::vector<ResultsFile>& results,
                   LawMemory& memory);
// The same without a page before it.
Report report_page(const std::string& title, const std::vector<RunLog>& runs, const std::vector<ResultsFile>& results);

}  // namespace ttt
