// Runs as one HTML page that needs nothing outside it.
#pragma once

#include <string>
#include <vector>

#include "report/run_log.h"

namespace ttt {

// A summary of each run, the config keys in which they differ, losses by tokens, FLOPs (exact products, 3 x forward)
// and seconds, learning rates, throughput, gradient norms, steps that were skipped and rollbacks, and the files that
// all of it comes from, with their hashes.
std::string report_page(const std::string& title, const std::vector<RunLog>& runs);

}  // namespace ttt
