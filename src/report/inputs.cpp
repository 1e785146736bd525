#include "report/inputs.h"

#include <algorithm>
#include <system_error>

#include "base/error.h"

namespace ttt {
namespace {

bool line_has_ended(const Json& line) {
  const Json status = line.value("status", Json());
  if (!status.is_string()) return true;
  const std::string word = status.get<std::string>();
  return word == "finished" || word == "failed";
}

bool run_has_ended(const RunLog& run) {
  return run.is_finished() || (run.sweep && (run.sweep->status == "finished" || run.sweep->status == "failed"));
}

}  // namespace

ReportInput read_report_input(const std::vector<std::string>& paths) {
  ReportInput input;
  for (const std::string& path : paths) {
    if (fs::is_regular_file(path)) {
      input.results.push_back(read_results_file(path));
      continue;
    }
    if (is_sweep_folder(path)) {
      input.results.push_back(read_results_file(fs::path(path) / "runs.jsonl"));
      input.results.back().of_folder = true;
    }
    for (const fs::path& folder : run_folders(path)) input.runs.push_back(read_run_log(folder));
  }
  return input;
}

bool all_ended(const ReportInput& input) {
  for (const ResultsFile& file : input.results)
    if (!std::all_of(file.lines.begin(), file.lines.end(), line_has_ended)) return false;
  return std::all_of(input.runs.begin(), input.runs.end(),
                     [&](const RunLog& run) { return has_line_in(run, input.results) || run_has_ended(run); });
}

std::string input_stamp(const std::vector<std::string>& paths) {
  std::string stamp;
  const auto add = [&](const fs::path& file) {
    std::error_code error;
    const auto size = fs::file_size(file, error);
    if (error) return;
    const auto time = fs::last_write_time(file, error);
    if (error) return;
    stamp += cat(file.string(), " ", size, " ", time.time_since_epoch().count(), "\n");
  };
  for (const std::string& path : paths) {
    if (fs::is_regular_file(path)) {
      add(path);
      continue;
    }
    if (is_sweep_folder(path)) add(fs::path(path) / "runs.jsonl");
    for (const fs::path& folder : run_folders(path))
      for (const char* name : kRunFiles) add(folder / name);
  }
  return stamp;
}

}  // namespace ttt
