// What a run's folder says about its training: config.yaml, metrics.jsonl, and where they are train.log, which alone
// tells of resumes and signals, and the sweep.json of the sweep that started it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "config/run_config.h"

namespace ttt {

inline constexpr const char* kRunFiles[] = {"config.yaml", "metrics.jsonl", "train.log", "sweep.json"};

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

enum class EventKind {
  kSkipped,   // a step without an update
  kRollback,  // a return to an older checkpoint
  kResumed,   // the program was started again and went on
  kBranched,  // begun from another run's checkpoint
  kStopped,   // by a signal, or with its sweep
  kFailed,
};

struct RunEvent {
  std::int64_t step = -1;  // -1: not known
  EventKind kind = EventKind::kSkipped;
  std::string what, why;
  std::string file;  // of the run's folder, which says so
};

// Loss by position of one validation set, of the last line that has it.
struct PositionBucket {
  double to = 0;  // its last position
  double loss = 0, low = 0, high = 0;
};
struct PositionCurve {
  std::string domain;  // "": the only set
  std::int64_t step = 0;
  std::vector<PositionBucket> buckets;
  std::string intervals;  // what low and high are
};

// Inner losses of a layer by mini-batch, of the last step that has them.
struct InnerLosses {
  std::int64_t step = 0, layer = 0;
  std::vector<double> at_w0, before, after;
};

// Of sweep.json.
struct SweepState {
  std::string status, error;
  std::int64_t starts = 0;
};

struct RunLog {
  std::string name;
  fs::path folder;
  RunConfig config;
  std::vector<TrainStep> train;
  std::vector<ValidStep> valid;
  std::vector<RunEvent> events;  // by step
  std::vector<PositionCurve> positions;
  std::vector<InnerLosses> inner;
  std::optional<SweepState> sweep;
  bool has_train_log = false;
  std::int64_t damaged_lines = 0;  // of metrics.jsonl, left out

  std::int64_t last_step() const;  // done or skipped; 0: none
  bool is_finished() const;        // has all its steps and, where it validates, the validation after the last
};

// A file like a sweep's runs.jsonl: one run a line.
struct ResultsFile {
  fs::path path;
  std::vector<Json> lines;
  bool of_folder = false;  // the sweep's own: its runs lie beside it, in folders of their names
};

// Throws UserError for a line that is no JSON object with a "name", and for none.
ResultsFile read_results_file(const fs::path& path);

// Throws UserError where the folder has no config.yaml or metrics.jsonl.
RunLog read_run_log(const fs::path& folder);

// Whether `path` is the folder of a sweep: it has a runs.jsonl, and no metrics.jsonl.
bool is_sweep_folder(const fs::path& path);

// The folders of runs that `path` stands for: itself, or of a sweep's folder those of its runs that have begun, in the
// sweep's order.
std::vector<fs::path> run_folders(const fs::path& path);

// Whether a line of a sweep's runs.jsonl is about the run, whose folder lies beside the file.
bool is_about(const Json& line, const ResultsFile& file, const RunLog& run);

// Whether the run's folder lies beside a sweep's runs.jsonl among these files, which has a line about it.
bool has_line_in(const RunLog& run, const std::vector<ResultsFile>& results);

}  // namespace ttt
