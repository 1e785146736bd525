#include "report/run_log.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <sstream>

#include "base/error.h"
#include "base/json.h"
#include "base/metrics_kind.h"
#include "config/load.h"

namespace ttt {
namespace {

double number_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

std::int64_t step_of(const Json& line) {
  const double step = number_of(line, "step");
  return std::abs(step) < 1e15 ? static_cast<std::int64_t>(step) : 0;
}

std::string text_of(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found == line.end() ? "?" : found->is_string() ? found->get<std::string>() : found->dump();
}

std::vector<double> numbers_of(const Json& line, const char* key) {
  std::vector<double> numbers;
  const auto found = line.find(key);
  if (found == line.end() || !found->is_array()) return numbers;
  for (const Json& value : *found)
    numbers.push_back(value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN());
  return numbers;
}

// Of a line position_loss, or of one of its domains.
void add_positions(RunLog& log, std::int64_t step, const std::string& domain, const Json& losses) {
  const auto found = losses.find("positions");
  if (found == losses.end() || !found->is_array()) return;
  PositionCurve curve;
  curve.domain = domain;
  curve.step = step;
  for (const Json& bucket : *found) {
    if (!bucket.is_object()) continue;
    PositionBucket own;
    own.to = number_of(bucket, "to");
    own.loss = number_of(bucket, "loss");
    own.low = number_of(bucket, "low");
    own.high = number_of(bucket, "high");
    if (!std::isfinite(own.low) || !std::isfinite(own.high)) own.low = own.high = own.loss;
    curve.buckets.push_back(own);
  }
  const Json how = losses.value("intervals", Json());
  if (how.is_object())
    curve.intervals = cat(text_of(how, "percent"), " % of ", text_of(how, "resamples"), " bootstrap samples of ",
                          text_of(how, "units"), " ", text_of(how, "over"));
  log.positions.push_back(std::move(curve));
}

void add_line(RunLog& log, const Json& line, const std::string& kind) {
  if (kind == "train") {
    TrainStep step;
    step.step = step_of(line);
    step.tokens = number_of(line, "tokens");
    const double seconds = number_of(line, "seconds");
    step.seconds = (log.train.empty() ? 0 : log.train.back().seconds) + (std::isfinite(seconds) ? seconds : 0);
    step.loss = number_of(line, "loss");
    step.grad_norm = number_of(line, "grad_norm");
    step.lr = number_of(line, "lr");
    step.tokens_per_second = number_of(line, "tokens_per_second");
    log.train.push_back(step);
  } else if (kind == "valid") {
    ValidStep step;
    step.step = step_of(line);
    step.tokens = log.train.empty() ? 0 : log.train.back().tokens;
    step.loss = number_of(line, "loss");
    if (const double bits = number_of(line, "bits_per_byte"); std::isfinite(bits)) step.bits_per_byte = bits;
    if (const double share = number_of(line, "accuracy"); std::isfinite(share)) step.accuracy = share;
    if (const double share = number_of(line, "answer_accuracy"); std::isfinite(share)) step.answer_accuracy = share;
    log.valid.push_back(step);
  } else if (kind == "skipped") {
    log.events.push_back({step_of(line), EventKind::kSkipped, cat("skipped, with samples ", text_of(line, "samples")),
                          cat("loss ", text_of(line, "loss"), ", gradient norm ", text_of(line, "grad_norm")),
                          "metrics.jsonl"});
  } else if (kind == "rollback") {
    log.events.push_back({step_of(line), EventKind::kRollback,
                          cat("rolled back from step ", text_of(line, "from_step"), ", passes over samples ",
                              text_of(line, "passed_over")),
                          text_of(line, "reason"), "metrics.jsonl"});
  } else if (kind == "position_loss") {
    log.positions.clear();
    add_positions(log, step_of(line), "", line);
    const auto domains = line.find("domains");
    if (domains == line.end() || !domains->is_object()) return;
    for (const auto& [name, losses] : domains->items())
      if (losses.is_object()) add_positions(log, step_of(line), name, losses);
  } else if (kind == "inner_loop") {
    InnerLosses own;
    own.step = step_of(line);
    const double layer = number_of(line, "layer");
    own.layer = std::abs(layer) < 1e6 ? static_cast<std::int64_t>(layer) : 0;  // 0 for NaN, too
    own.at_w0 = numbers_of(line, "loss_w0");
    own.before = numbers_of(line, "loss_before");
    own.after = numbers_of(line, "loss_after");
    if (own.at_w0.size() != own.before.size() || own.before.size() != own.after.size()) return;
    if (!log.inner.empty() && log.inner.front().step != own.step) log.inner.clear();
    log.inner.push_back(std::move(own));
  }
}

// The number behind the last of these words; -1 where there is none.
std::int64_t number_after(const std::string& text, const std::string& words) {
  const std::size_t at = text.rfind(words);
  std::int64_t number = -1;
  if (at != std::string::npos) std::from_chars(text.data() + at + words.size(), text.data() + text.size(), number);
  return number;
}

// A line of train.log, DATE TIME LEVEL MESSAGE. rolls_back: what the line before it said; then going on from a
// checkpoint is no new start.
void add_log_line(RunLog& log, const std::string& line, bool& rolls_back) {
  std::size_t begin = 0;
  std::string level;
  for (int word = 0; word < 3; ++word) {
    const std::size_t end = line.find(' ', begin);
    if (end == std::string::npos) return;
    level = line.substr(begin, end - begin);
    begin = end + 1;
  }
  const std::string message = line.substr(begin);
  const auto add = [&](std::int64_t step, EventKind kind, const std::string& what, const std::string& why) {
    log.events.push_back({step, kind, what, why, "train.log"});
  };
  if (message.find(": the run goes back to '") != std::string::npos) {
    rolls_back = true;
  } else if (message.starts_with("resuming from '")) {
    if (!rolls_back) add(number_after(message, "' at step "), EventKind::kResumed, "resumed", message);
    rolls_back = false;
  } else if (message.starts_with("a branch of '")) {
    add(number_after(message, "' at step "), EventKind::kBranched, "begun as a branch", message);
  } else if (message.starts_with("stopped by ") || message.starts_with("stopped in the validation after step ")) {
    add(number_after(message, " after step "), EventKind::kStopped, "stopped", message);
  } else if (level == "error") {
    add(-1, EventKind::kFailed, "error", message);
  }
}

void read_sweep_state(RunLog& log) {
  const fs::path file = log.folder / "sweep.json";
  if (!fs::is_regular_file(file)) return;
  const Json json = Json::parse(read_file(file), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.value("status", Json()).is_string()) return;
  SweepState state;
  state.status = text_of(json, "status");
  state.error = json.contains("error") ? text_of(json, "error") : "";
  const double starts = number_of(json, "starts");
  state.starts = std::abs(starts) < 1e9 ? static_cast<std::int64_t>(starts) : 0;
  // Unless train.log's last word says it already.
  const auto told = [&](EventKind kind) {
    return !log.events.empty() && log.events.back().file == "train.log" && log.events.back().kind == kind;
  };
  if (state.status == "failed" && !told(EventKind::kFailed))
    log.events.push_back({log.last_step(), EventKind::kFailed, "failed", state.error, "sweep.json"});
  if (state.status == "interrupted" && !told(EventKind::kStopped))
    log.events.push_back({log.last_step(), EventKind::kStopped, "interrupted", "its sweep was stopped", "sweep.json"});
  log.sweep = std::move(state);
}

}  // namespace

ResultsFile read_results_file(const fs::path& path) {
  ResultsFile file{path, {}};
  std::istringstream lines(read_file(path));
  std::int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    file.lines.push_back(Json::parse(line, nullptr, /*allow_exceptions=*/false));
    const Json& run = file.lines.back();
    if (!run.is_object() || !run.value("name", Json()).is_string())
      user_error("'", path.string(), "', line ", number, run.is_object() ? " names no run" : " is no JSON object",
                 "; a file like the runs.jsonl of a sweep has a run a line, with its \"name\" (of a single run name "
                 "the folder)");
  }
  if (file.lines.empty()) user_error("'", path.string(), "' holds no run; name a folder, or a sweep's runs.jsonl");
  return file;
}

RunLog read_run_log(const fs::path& folder) {
  for (const char* name : {"config.yaml", "metrics.jsonl"}) {
    if (!fs::is_regular_file(folder / name))
      user_error("'", folder.string(), "' is no run: it has no ", name,
                 "; name the output_dir of a training or a sweep");
  }
  RunLog log;
  log.folder = folder;
  log.name = fs::weakly_canonical(folder).filename().string();
  log.config = load_run_config(folder / "config.yaml");
  std::istringstream lines(read_file(folder / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const std::string kind = kind_of(json);
    if (kind.empty())
      ++log.damaged_lines;
    else
      add_line(log, json, kind);
  }
  log.has_train_log = fs::is_regular_file(folder / "train.log");
  if (log.has_train_log) {
    bool rolls_back = false;
    std::istringstream words(read_file(folder / "train.log"));
    for (std::string line; std::getline(words, line);) add_log_line(log, line, rolls_back);
  }
  read_sweep_state(log);
  const auto place = [](const RunEvent& event) {
    return event.step < 0 ? std::numeric_limits<std::int64_t>::max() : event.step;
  };
  std::stable_sort(log.events.begin(), log.events.end(),
                   [&](const RunEvent& a, const RunEvent& b) { return place(a) < place(b); });
  return log;
}

std::int64_t RunLog::last_step() const {
  std::int64_t last = train.empty() ? 0 : train.back().step;
  for (const RunEvent& event : events)
    if (event.kind == EventKind::kSkipped) last = std::max(last, event.step);
  return last;
}

bool RunLog::is_finished() const {
  const std::int64_t steps = config.train.steps;
  return last_step() >= steps && (config.data.valid.empty() || (!valid.empty() && valid.back().step >= steps));
}

bool is_sweep_folder(const fs::path& path) {
  return !fs::is_regular_file(path / "metrics.jsonl") && fs::is_regular_file(path / "runs.jsonl");
}

std::vector<fs::path> run_folders(const fs::path& path) {
  if (!is_sweep_folder(path)) return {path};
  std::vector<fs::path> folders;
  std::istringstream lines(read_file(path / "runs.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const Json name = json.is_object() ? json.value("name", Json()) : Json();
    if (!name.is_string() || name.get<std::string>().empty()) continue;
    const fs::path folder = path / name.get<std::string>();
    // A training makes metrics.jsonl first, and config.yaml a moment later.
    if (fs::is_regular_file(folder / "metrics.jsonl") && fs::is_regular_file(folder / "config.yaml"))
      folders.push_back(folder);
  }
  return folders;
}

bool is_about(const Json& line, const ResultsFile& file, const RunLog& run) {
  return line.value("name", Json()) == Json(run.name) && file.path.parent_path() == run.folder.parent_path();
}

bool has_line_in(const RunLog& run, const std::vector<ResultsFile>& results) {
  return std::any_of(results.begin(), results.end(), [&](const ResultsFile& file) {
    const auto about = [&](const Json& line) { return is_about(line, file, run); };
    return file.of_folder && std::any_of(file.lines.begin(), file.lines.end(), about);
  });
}

}  // namespace ttt
