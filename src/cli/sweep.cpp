// ttt sweep: many trainings from one file, here or as a Slurm array.
#include <fnmatch.h>

#include <cstdlib>
#include <iostream>
#include <memory>

#include "base/files.h"
#include "base/log.h"
#include "base/process.h"
#include "base/signals.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "config/load.h"
#include "sweep/lr_search.h"
#include "sweep/record.h"
#include "sweep/runner.h"
#include "sweep/slurm.h"
#include "sweep/spec.h"
#include "sweep/table.h"

namespace ttt {
namespace {

constexpr const char* kExample = R"(A sweep file (base files are relative to it; a run's folder is OUTPUT_DIR/NAME):
  base: ["../model/{mixer}_125m.yaml", ../run/my_data.yaml]  # later ones win; {axis} is its value's name
  output_dir: runs/my_sweep
  set: {train.eval_every: 100}                  # keys for every run
  axes:                                         # every combination
    mixer: [attention, ttt_linear]
    size: {narrow: {model.hidden_size: 384}, wide: {model: {hidden_size: 768}}}
    optim.lr: [1e-3, 3e-3]
  runs:                                         # further ones, by name
    long: {base: ../run/my_run.yaml, train.steps: 9000}
  isoflop: {budgets: [1e17, 3e17], sizes: [125m, 350m], convention: exact}     # each combination at equal FLOPs
  ladder: {sizes: {s: {model.num_layers: 2}}, tokens_per_parameter: [5, 20]}   # or at equal tokens a parameter
  lr_search: {low: 1e-4, high: 1e-2, evaluations: 6}  # golden section for each run, by its validation loss
  branches: true                                # WSD runs that differ in train.steps alone share one trunk
  slurm: {partition: gpu, time: 24:00:00}       # #SBATCH options
Exit codes: 0 every run is finished; 1 some failed; 2 wrong usage or input; 75 stopped, run it again.)";

struct SweepArguments {
  std::string file, only, run;
  std::vector<std::string> overrides;
  int jobs = 1;
  bool dry_run = false, json = false, retry_failed = false, slurm = false, submit = false;
  SpeedOptions speed;
};

bool parse(const std::vector<std::string>& args, SweepArguments& options) {
  CLI::App app(
      "Trains every run of a sweep file, resumes what was interrupted, skips what is finished, and ends with a table\n"
      "of validation loss against FLOPs; OUTPUT_DIR/runs.jsonl has one JSON line a run.",
      "ttt sweep");
  app.add_option("sweep", options.file, "the sweep file (YAML)")->required()->option_text("SWEEP.yaml");
  app.add_option("overrides", options.overrides, "keys set in every run, e.g. train.steps=100; output_dir=DIR")
      ->option_text("[key=value ...]");
  app.add_flag(
      "--dry-run", options.dry_run,
      "only print a table of costs (parameters, FLOPs, hours, disk, status), and whether a grid identifies a law");
  auto* speed = app.add_option("--tokens-per-second", options.speed.tokens_per_second, "for --dry-run: speed of a run")
                    ->check(positive_number());
  app.add_option("--tflops", options.speed.tflops, "for --dry-run: sustained TFLOP/s")
      ->check(positive_number())
      ->excludes(speed);
  app.add_option("--jobs", options.jobs, "trainings at a time")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--only", options.only, "only runs whose name fits this pattern, such as '*_125m'");
  app.add_flag("--retry-failed", options.retry_failed, "also start runs that failed before");
  app.add_option("--run", options.run, "one run alone, by name or index (what a Slurm task calls)");
  app.add_flag("--slurm", options.slurm,
               "write OUTPUT_DIR/sweep.sbatch, an array of the runs to do (--jobs at a time)");
  app.add_flag("--submit", options.submit, "with --slurm: hand it to sbatch");
  app.add_flag("--json", options.json, "print the table as JSON");
  app.footer(kExample);
  if (!parse_arguments(app, args)) return false;
  if (options.submit && !options.slurm) user_error("--submit goes with --slurm");
  if (options.slurm && !options.run.empty()) user_error("--slurm and --run exclude each other");
  return true;
}

std::vector<const SweepRun*> select(const Sweep& sweep, const SweepArguments& options) {
  std::vector<const SweepRun*> selected;
  std::vector<std::string> names;
  for (const SweepRun& run : sweep.runs) {
    names.push_back(run.name);
    if (!options.run.empty() && run.name != options.run && std::to_string(run.index) != options.run) continue;
    if (!options.only.empty() && fnmatch(options.only.c_str(), run.name.c_str(), 0) != 0) continue;
    selected.push_back(&run);
  }
  if (!selected.empty()) return selected;
  const std::string near = nearest(options.run, names);
  user_error("'", options.file, "' has no run ", options.run.empty() ? options.only : options.run,
             near.empty() ? cat("; it has ", names.size(), ", '", names.front(), "' to '", names.back(), "'")
                          : cat("; did you mean '", near, "'?"));
}

// Tasks of an array start in any order and know nothing of one another.
void refuse_slurm(const Sweep& sweep, const SweepArguments& options) {
  const char* instead = "; run the sweep inside one job instead, with --jobs";
  if (!sweep.searches.empty())
    user_error("'", options.file, "' has lr_search, whose rates follow from runs that have ended, and --slurm starts ",
               "all runs by themselves", instead);
  for (const SweepRun& run : sweep.runs) {
    if (run.branch)
      user_error("'", options.file, "' has branches, which wait for their trunks, and --slurm starts all runs by ",
                 "themselves", instead);
  }
}

void write_slurm_array(const Sweep& sweep, const std::vector<const SweepRun*>& runs, const SweepArguments& options) {
  std::vector<const SweepRun*> due;
  for (const SweepRun* run : runs)
    if (is_due(*run, read_record(*run), options.retry_failed)) due.push_back(run);
  if (due.empty()) user_error("no run is left to do (failed ones are done again with --retry-failed)");
  SlurmOptions slurm{own_program(), options.overrides, options.jobs > 1 ? options.jobs : 0};
  if (options.retry_failed) slurm.overrides.emplace_back("--retry-failed");
  make_writable_directory(sweep.output_dir);
  const fs::path script = sweep.output_dir / "sweep.sbatch";
  write_file_atomically(script, slurm_script(sweep, due, slurm));
  std::cout << due.size() << " runs: sbatch " << script.string() << std::endl;
  if (!options.submit) return;
  const std::string command = "sbatch '" + script.string() + "'";
  if (std::system(command.c_str()) != 0) fail("'", command, "' did not succeed; nothing was submitted");
}

void print_results(const Sweep& sweep, const std::vector<const SweepRun*>& runs, bool json) {
  if (!json) {
    std::cout << results_table(runs) << searches_text(sweep, runs);
    return;
  }
  Json list = Json::array();
  for (const SweepRun* run : runs) list.push_back(run_line(*run, own_record(*run)));
  std::cout << to_line(list);
}

}  // namespace

ExitCode run_sweep_command(const std::vector<std::string>& args) {
  SweepArguments options;
  if (!parse(args, options)) return ExitCode::kOk;
  Sweep sweep = read_sweep(options.file, options.overrides);
  const std::vector<const SweepRun*> runs = select(sweep, options);
  if (!options.dry_run || options.json)  // the plan's text has them itself
    for (const std::string& note : sweep.notes) log_warn(note);
  if (options.dry_run) {
    std::cout << (options.json ? to_line(cost_json(runs, options.speed))
                               : cost_table(runs, options.speed) + plan_text(sweep, runs));
    return ExitCode::kOk;
  }
  if (options.slurm) {
    refuse_slurm(sweep, options);
    write_slurm_array(sweep, runs, options);
    return ExitCode::kOk;
  }
  outlive_readers();
  make_writable_directory(sweep.output_dir);
  std::unique_ptr<FileLock> lock;
  if (options.run.empty()) {  // tasks of an array run beside each other
    lock = std::make_unique<FileLock>(sweep.output_dir / ".sweep.lock",
                                      cat("another sweep is running in '", sweep.output_dir.string(),
                                          "'; wait for it, or choose another output_dir"));
  }
  RunnerOptions runner;
  runner.program = own_program();
  runner.jobs = options.jobs;
  runner.retry_failed = options.retry_failed;
  const ExitCode code = run_sweep(sweep, runs, runner);
  advance(sweep);
  write_runs_file(sweep);
  print_results(sweep, runs, options.json);
  if (!options.json) std::cout << "every run, as JSON: " << (sweep.output_dir / "runs.jsonl").string() << "\n";
  return code;
}

}  // namespace ttt
