// What a page is made of: folders of runs and of sweeps, and results files.
#pragma once

#include <string>
#include <vector>

#include "report/run_log.h"

namespace ttt {

struct ReportInput {
  std::vector<RunLog> runs;
  std::vector<ResultsFile> results;  // runs.jsonl of sweeps' folders, too
};

// Throws UserError for a path that is neither, and for files that are damaged.
ReportInput read_report_input(const std::vector<std::string>& paths);

// Whether nothing more is to come: each run is finished, or a sweep says that it has failed. (Whoever started another
// one may start it again.)
bool all_ended(const ReportInput& input);

// Names, sizes and times of all files that read_report_input() would read; another text where one of them changed.
std::string input_stamp(const std::vector<std::string>& paths);

}  // namespace ttt
