// What went wrong in runs, and where they went on.
#pragma once

#include <string>
#include <vector>

#include "report/run_log.h"

namespace ttt {

// A table of how often each run skipped steps, rolled back, was resumed, stopped or failed, with its total, and one of
// each time. Of runs of results files without a folder of their own: those that failed or were interrupted.
std::string events_section(const std::vector<RunLog>& runs, const std::vector<ResultsFile>& results);

}  // namespace ttt
