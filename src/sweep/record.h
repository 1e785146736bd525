// Where each run of a sweep stands, and the sweep's table of results.
//
//     OUTPUT_DIR/NAME/               the run's own output_dir (config.yaml, metrics.jsonl, checkpoints/, ...)
//     OUTPUT_DIR/NAME/sweep.yaml     the config that the sweep started it with
//     OUTPUT_DIR/NAME/sweep.log      what it printed
//     OUTPUT_DIR/NAME/sweep.json     its RunRecord
//     OUTPUT_DIR/runs.jsonl          one JSON line a run, rewritten whenever one ends
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/json.h"
#include "plan/plan.h"
#include "sweep/spec.h"

namespace ttt {

enum class RunStatus { kPending, kRunning, kInterrupted, kFinished, kFailed };
const char* to_string(RunStatus status);  // "pending", "running", "interrupted", "finished", "failed"

struct RunRecord {
  RunStatus status = RunStatus::kPending;
  std::string config_hash;   // of the config that it was last started with
  double lr = 0;             // optim.lr of that; 0: not known
  std::string git_revision;  // of the program that did
  std::string error;         // a failed run's last words
  std::int64_t starts = 0;
  std::int64_t peak_memory_bytes = 0;  // resident, the largest of its processes; 0: not known
};

// Nothing there: a pending record. Throws UserError for a file that is not one.
RunRecord read_record(const SweepRun& run);
void write_record(const SweepRun& run, const RunRecord& record);

// Whether it is finished, or failed, with the config that the run has now.
bool has_ended(const SweepRun& run, const RunRecord& record);
// The record; a pending one where it is of another learning rate than the run's search wants by now, or may want.
RunRecord own_record(const SweepRun& run);

// What a run's metrics.jsonl says.
struct RunResults {
  std::int64_t step = 0, tokens = 0;
  std::optional<double> train_loss, valid_loss, perplexity, bits_per_byte;
  std::optional<double> accuracy, answer_accuracy;  // of sets that say what is scored: of targets, of whole answers
  std::int64_t valid_tokens = 0;                    // targets of that validation
  Json inner_lr_scales;                             // of train.eval_inner_lr_scales: scale -> loss, bits_per_byte
  Json domains;  // of the validation, where data.valid names several sets: NAME -> loss, bits_per_byte, tokens
  std::optional<Speed> speed;
};
RunResults read_results(const SweepRun& run);

// The run's line of runs.jsonl: name, status, hash, revision, model, size, tokens, FLOPs under three conventions,
// results; of a grid its budget or tokens a parameter, and edge, of a branch its trunk, of a search for the learning rate
// its name, evaluation and whether it is the best. What is not known is null.
Json run_line(const SweepRun& run, const RunRecord& record);
// Only the keys of the grid, the trunk and the search.
void add_place(Json& line, const SweepRun& run);

// What the runs that have ended say about others: the next rates of searches, the ends of grids.
void advance(Sweep& sweep);

// Rewrites OUTPUT_DIR/runs.jsonl from every run's record and what they say by now (advance()), atomically; safe against
// other processes that do the same.
void write_runs_file(const Sweep& sweep);

}  // namespace ttt
