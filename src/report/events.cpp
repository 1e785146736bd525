#include "report/events.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "report/html.h"

namespace ttt {
namespace {

constexpr EventKind kCounted[] = {EventKind::kSkipped, EventKind::kRollback, EventKind::kResumed, EventKind::kStopped,
                                  EventKind::kFailed};
constexpr std::size_t kCounts = std::size(kCounted);

// Only train.log knows of these.
bool is_of_log(EventKind kind) {
  return kind == EventKind::kResumed || kind == EventKind::kStopped || kind == EventKind::kFailed;
}

std::string event_text(const Json& line, const char* key) {
  const Json value = line.value(key, Json());
  return value.is_string() ? value.get<std::string>() : value.is_number() ? value.dump() : "-";
}

// What both tables, and the sentences below them, are made of.
struct EventTables {
  std::vector<HtmlRow> counts, events;
  std::int64_t totals[kCounts] = {};
  std::vector<std::string> files, without_log;
};

void add_run(EventTables& tables, const RunLog& run) {
  HtmlRow row = {run.name, run.sweep ? run.sweep->status : run.is_finished() ? "finished" : "not finished"};
  for (std::size_t i = 0; i < kCounts; ++i) {
    const auto count = std::count_if(run.events.begin(), run.events.end(),
                                     [&](const RunEvent& event) { return event.kind == kCounted[i]; });
    tables.totals[i] += count;
    row.push_back(!run.has_train_log && count == 0 && is_of_log(kCounted[i]) ? "-" : cat(count));
  }
  row.push_back(run.sweep ? cat(run.sweep->starts) : "-");
  tables.counts.push_back(std::move(row));
  for (const RunEvent& event : run.events)
    tables.events.push_back({run.name, event.step < 0 ? "-" : cat(event.step), event.what,
                             event.why.empty() ? "-" : event.why, event.file});
  tables.files.push_back((run.folder / "metrics.jsonl").string());
  if (run.has_train_log) tables.files.push_back((run.folder / "train.log").string());
  if (run.sweep) tables.files.push_back((run.folder / "sweep.json").string());
  if (!run.has_train_log) tables.without_log.push_back(run.name);
}

// Lines of runs that no folder tells of.
void add_lines(EventTables& tables, const ResultsFile& file, const std::vector<RunLog>& runs) {
  for (const Json& line : file.lines) {
    const std::string name = event_text(line, "name"), status = event_text(line, "status");
    const bool has_folder =
        std::any_of(runs.begin(), runs.end(), [&](const RunLog& run) { return is_about(line, file, run); });
    if (has_folder || (status != "failed" && status != "interrupted")) continue;
    HtmlRow row = {name, status};
    for (const EventKind kind : kCounted) row.push_back(kind == EventKind::kFailed && status == "failed" ? "1" : "-");
    if (status == "failed") ++tables.totals[kCounts - 1];
    row.push_back(event_text(line, "starts"));
    tables.counts.push_back(std::move(row));
    tables.events.push_back(
        {name, event_text(line, "steps_done"), status, event_text(line, "error"), file.path.filename().string()});
    tables.files.push_back(file.path.string());
  }
}

}  // namespace

std::string events_section(const std::vector<RunLog>& runs, const std::vector<ResultsFile>& results) {
  EventTables tables;
  for (const RunLog& run : runs) add_run(tables, run);
  for (const ResultsFile& file : results) add_lines(tables, file, runs);
  if (tables.counts.empty()) return "";
  if (tables.counts.size() > 1) {
    HtmlRow all = {"all", ""};
    for (const std::int64_t total : tables.totals) all.push_back(cat(total));
    all.push_back("");
    tables.counts.push_back(std::move(all));
  }
  std::string out = "<h2>Failures and resumes</h2>\n" +
                    html_table({"run", "status", "steps skipped", "rollbacks", "resumes", "stops", "errors", "starts"},
                               tables.counts);
  out += tables.events.empty() ? std::string("<p>No step was skipped, and no run was stopped or failed.</p>\n")
                               : html_table({"run", "step", "what", "why", "file"}, tables.events);
  out += html_note(from_files(tables.files) +
                   " Lines of steps that were taken back, by a rollback or a resume, are no longer in metrics.jsonl. "
                   "Starts are the sweep's; a process that was killed says nothing before its next start.");
  if (tables.without_log.empty()) return out;
  return out + html_note("Resumes, signals and errors are not known of runs without a train.log: " +
                         joined(tables.without_log) + ".");
}

}  // namespace ttt
