// What a run's folder says about its training: config.yaml and metrics.jsonl.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "config/run_config.h"

namespace ttt {

struct TrainStep {
  std::int64_t step = 0;
  double tokens = 0, seconds = 0;  // so far; seconds of steps, without validations and what was lost to interruptions
  double loss = 0, grad_norm = 0, lr = 0, tokens_per_second = 0;
};

struct ValidStep {
  std::int64_t step = 0;
  double tokens = 0;  // trained on by then
  double loss = 0;
  std::optional<double> bits_per_byte;
  std::optional<double> accuracy, answer_accuracy;  // of sets that say which targets are scored
};

// A step without an update, or a return to an older checkpoint.
struct RunEvent {
  std::int64_t step = 0;
  std::string text;
};

struct RunLog {
  std::string name;
  fs::path folder;
  RunConfig config;
  std::vector<TrainStep> train;
  std::vector<ValidStep> valid;
  std::vector<RunEvent> events;
  std::int64_t damaged_lines = 0;  // of metrics.jsonl, left out
};

// A file like a sweep's runs.jsonl: one run a line.
struct ResultsFile {
  fs::path path;
  std::vector<Json> lines;
};

// Throws UserError for a line that is no JSON object with a "name", and for none.
ResultsFile read_results_file(const fs::path& path);

// Throws UserError where the folder has no config.yaml or metrics.jsonl.
RunLog read_run_log(const fs::path& folder);

// The folders of runs that `path` stands for: itself, or, where it is a sweep's (it has a runs.jsonl), those of its
// runs that have begun, in the sweep's order. Throws UserError where it is neither.
std::vector<fs::path> run_folders(const fs::path& path);

}  // namespace ttt
