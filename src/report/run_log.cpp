#include "report/run_log.h"

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
    log.events.push_back({step_of(line), cat("skipped: loss ", text_of(line, "loss"), ", gradient norm ",
                                             text_of(line, "grad_norm"), ", samples ", text_of(line, "samples"))});
  } else if (kind == "rollback") {
    log.events.push_back(
        {step_of(line), cat("rolled back from step ", text_of(line, "from_step"), ": ", text_of(line, "reason"),
                            "; passes over samples ", text_of(line, "passed_over"))});
  }
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
  return log;
}

std::vector<fs::path> run_folders(const fs::path& path) {
  if (fs::is_regular_file(path / "metrics.jsonl") || !fs::is_regular_file(path / "runs.jsonl")) return {path};
  std::vector<fs::path> folders;
  std::istringstream lines(read_file(path / "runs.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const std::string name = json.is_object() ? json.value("name", "") : "";
    if (!name.empty() && fs::is_regular_file(path / name / "metrics.jsonl")) folders.push_back(path / name);
  }
  if (folders.empty()) user_error("no run of the sweep in '", path.string(), "' has begun; `ttt sweep` starts them");
  return folders;
}

}  // namespace ttt
