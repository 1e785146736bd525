#include "sweep/runner.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "base/build_info.h"
#include "base/files.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/process.h"
#include "base/signals.h"
#include "base/timer.h"
#include "config/load.h"
#include "config/resume_rules.h"
#include "sweep/branches.h"

namespace ttt {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(100);
constexpr double kSecondsBetweenLines = 5.0;

struct Child {
  const SweepRun* run;
  RunRecord record;
  pid_t pid = -1;
  Timer timer;
};

// A training that an earlier, killed sweep started may still be saving its last step.
bool is_locked(const SweepRun& run) {
  const fs::path lock = run.folder() / ".lock";
  if (!fs::exists(lock)) return false;
  try {
    const FileLock probe(lock, "busy");
    return false;
  } catch (const UserError&) {
    return true;
  }
}

// How what was trained in the run's folder differs from the run as it is asked for now.
struct Differences {
  std::string training;    // it would be another training; "": it goes on
  std::string validation;  // its validation losses are of other data
};

Differences differences_from_trained(const SweepRun& run) {
  Differences differences;
  fs::path file = run.folder() / "config.yaml";  // the training's own
  if (!fs::is_regular_file(file)) file = run.folder() / "sweep.yaml";
  if (!fs::is_regular_file(file)) return differences;
  try {
    for (const FieldDifference& difference : diff(load_run_config(file), run.config)) {
      const std::string text = cat(difference.key, " was ", difference.a.empty() ? "nothing" : difference.a, ", now ",
                                   difference.b.empty() ? "nothing" : difference.b);
      const ResumeRule* rule = rule_of(difference.key);
      const bool validation = difference.key == "data.valid" || difference.key == "train.eval_samples";
      const bool training = rule == nullptr || rule->in_branch != InBranch::kMayDiffer;
      std::string& list = training ? differences.training : differences.validation;
      if (training || validation) list += (list.empty() ? "" : ", ") + text;
    }
  } catch (const UserError&) {
    return {};  // of another version of the program, or damaged: the training judges it
  }
  return differences;
}

// The folder of another training, out of the way.
void set_aside_folder(const SweepRun& run, const std::string& what) {
  fs::path place = run.folder().string() + ".replaced";
  for (int i = 2; fs::exists(place); ++i) place = cat(run.folder().string(), ".replaced.", i);
  fs::rename(run.folder(), place);
  log_info(cat(run.name, ": ", what, ", and it is trained anew; what was trained is kept as '", place.string(), "'"));
}

class Runner {
 public:
  Runner(const Sweep& sweep, const std::vector<const SweepRun*>& runs, const RunnerOptions& options)
      : sweep_(sweep), options_(options), total_(runs.size()) {
    for (const SweepRun* run : runs) chosen_.insert(run->index);
    advance(sweep_);
    for (const std::size_t index : chosen_) {
      const SweepRun* run = &sweep_.runs[index];
      const RunRecord record = read_record(*run);
      if (is_due(*run, record, options.retry_failed)) {
        check_search_is_chosen(*run);
        queue_.push_back(run);
        continue;
      }
      ++skipped_;
      if (record.status != RunStatus::kFailed) continue;
      failed_ = true;
      log_warn(cat(run->name, ": failed before and is not tried again (--retry-failed does): ", record.error));
    }
  }

  ExitCode run() {
    const SignalGuard signals;
    while (!children_.empty() || (!queue_.empty() && !told_)) {
      if (signals.stop_requested() && !told_) {
        told_ = true;
        log_info(cat("stopping: ", children_.size(), " trainings save their step (", signals.name(), ")"));
        for (const Child& child : children_) kill(child.pid, SIGTERM);
      }
      if (!told_) fill_slots();
      reap();
      if (children_.empty() && !told_) leave_what_waits();
      show_status();
      if (!children_.empty() || !queue_.empty()) std::this_thread::sleep_for(kPoll);
    }
    show_progress("");
    if (told_) log_info("the same command goes on from here");
    return told_ || interrupted_ ? ExitCode::kPreempted : failed_ ? ExitCode::kFailed : ExitCode::kOk;
  }

 private:
  void fill_slots() {
    while (!queue_.empty() && static_cast<int>(children_.size()) < options_.jobs) {
      const auto free = std::find_if(queue_.begin(), queue_.end(), [&](const SweepRun* run) {
        return readiness(*run) != Readiness::kWaits && !is_locked(*run);
      });
      if (free == queue_.end()) return;  // all wait for other runs, or for trainings that are ending elsewhere
      const SweepRun* run = *free;
      queue_.erase(free);
      readiness(*run) == Readiness::kReady ? start(*run) : fail_with_trunk(*run);
    }
  }

  enum class Readiness { kReady, kWaits, kTrunkFailed };
  Readiness readiness(const SweepRun& run) const {
    if (run.search) return run.search->known && !may_get_another_rate(run) ? Readiness::kReady : Readiness::kWaits;
    if (!run.branch || goes_on_by_itself(run) || has_trunks_checkpoint(run)) return Readiness::kReady;
    const SweepRun& trunk = sweep_.runs[run.branch->trunk];
    const RunRecord record = read_record(trunk);
    if (is_at_work(trunk) || (chosen_.count(trunk.index) != 0 && !has_ended(trunk, record))) return Readiness::kWaits;
    const bool failed = record.status == RunStatus::kFailed && has_ended(trunk, record);
    if (failed && chosen_.count(trunk.index) != 0) return Readiness::kTrunkFailed;
    return Readiness::kReady;  // from its beginning
  }

  // Of the training that is asked for now, not of one that will be set aside.
  bool goes_on_by_itself(const SweepRun& run) const {
    return has_own_checkpoint(run) && differences_from_trained(run).training.empty();
  }
  bool has_trunks_checkpoint(const SweepRun& run) const {
    return is_complete(run.branch->checkpoint) &&
           differences_from_trained(sweep_.runs[run.branch->trunk]).training.empty();
  }

  // While an earlier evaluation of its search is tried again. The first two have their rates from the start.
  bool may_get_another_rate(const SweepRun& run) const {
    if (run.search->evaluation <= 2) return false;
    const std::vector<std::size_t>& runs = sweep_.searches[run.search->search].runs;
    return std::any_of(runs.begin(), runs.end(),
                       [&](std::size_t index) { return index < run.index && is_at_work(sweep_.runs[index]); });
  }

  bool is_at_work(const SweepRun& run) const {
    return std::find(queue_.begin(), queue_.end(), &run) != queue_.end() ||
           std::any_of(children_.begin(), children_.end(), [&](const Child& child) { return child.run == &run; });
  }

  void fail_with_trunk(const SweepRun& run) {
    const SweepRun& trunk = sweep_.runs[run.branch->trunk];
    RunRecord record = read_record(run);
    record.status = RunStatus::kFailed;
    record.config_hash = config_hash(run.config);
    record.lr = run.config.optim.lr;
    record.git_revision = build_info().revision();
    record.error =
        cat("its trunk '", trunk.name, "' failed before step ", run.branch->step, ": ", read_record(trunk).error);
    failed_ = true;
    make_writable_directory(run.folder());
    write_record(run, record);
    write_runs_file(sweep_);
    log_error(cat(run.name, ": failed: ", record.error));
  }

  // Nothing runs, and what is left waits for runs that were interrupted by themselves.
  void leave_what_waits() {
    const auto waits = [&](const SweepRun* run) { return readiness(*run) == Readiness::kWaits; };
    if (queue_.empty() || !std::all_of(queue_.begin(), queue_.end(), waits)) return;
    for (const SweepRun* run : queue_) log_warn(cat(run->name, ": not started: a run that it waits for has not ended"));
    queue_.clear();
    interrupted_ = true;
  }

  // A search's run needs what comes before it.
  void check_search_is_chosen(const SweepRun& run) const {
    if (!run.search || run.search->known) return;
    for (const std::size_t index : sweep_.searches[run.search->search].runs) {
      const SweepRun& before = sweep_.runs[index];
      if (index >= run.index) return;
      if (chosen_.count(index) == 0 && !has_ended(before, read_record(before)))
        user_error("'", run.name, "' gets its learning rate from '", before.name,
                   "', which has not ended and is not among the runs that were asked for; ask for both");
    }
  }

  // After a run has ended: what its search wants anew, since a failed run was tried again.
  void advance_and_requeue() {
    advance(sweep_);
    for (const std::size_t index : chosen_) {
      const SweepRun& run = sweep_.runs[index];
      if (!run.search || !run.search->known || is_at_work(run)) continue;
      const RunRecord record = read_record(run);
      const auto started = started_as_.find(index);
      if (started != started_as_.end() && started->second == config_hash(run.config)) continue;
      if (!is_due(run, record, /*retry_failed=*/false)) continue;
      queue_.push_back(&run);
      skipped_ = skipped_ > 0 ? skipped_ - 1 : 0;
    }
  }

  void start(const SweepRun& run) {
    Child child{&run, read_record(run), -1, {}};
    const Differences differences = differences_from_trained(run);
    if (!differences.training.empty()) {
      set_aside_folder(run, differences.training);
      child.record = {};
    } else if (!differences.validation.empty() && child.record.status == RunStatus::kFinished) {
      log_warn(
          cat(run.name, ": it is finished, and its validation losses are those from before: ", differences.validation));
    }
    const bool resumes = child.record.starts > 0;
    make_writable_directory(run.folder());
    const fs::path config = run.folder() / "sweep.yaml";
    write_file_atomically(config, cat("# '", run.name, "' of ", sweep_.file.filename().string(), ", resolved.\n",
                                      to_yaml(with_branch(run))));
    started_as_[run.index] = config_hash(run.config);
    child.record.status = RunStatus::kRunning;
    child.record.config_hash = config_hash(run.config);
    child.record.lr = run.config.optim.lr;
    child.record.git_revision = build_info().revision();
    child.record.error.clear();
    ++child.record.starts;
    write_record(run, child.record);
    write_runs_file(sweep_);
    std::vector<std::string> command = {options_.program.string(), "train", config.string()};
    if (options_.jobs > 1 && run.config.train.threads == 0) {
      const auto jobs = static_cast<std::int64_t>(options_.jobs);
      command.push_back(cat("train.threads=", std::max<std::int64_t>(1, usable_cores() / jobs)));
    }
    child.pid = start_process(command, run.folder() / "sweep.log");
    log_info(cat(run.name, ": ", resumes ? "goes on" : "started", " (", skipped_ + ++started_, " of ", total_, ")"));
    children_.push_back(std::move(child));
  }

  // With branch_from, where there is something to branch off from.
  RunConfig with_branch(const SweepRun& run) const {
    RunConfig config = run.config;
    if (!run.branch) return config;
    const fs::path checkpoint = run.branch->checkpoint;
    std::string why = cat("has no checkpoint of step ", run.branch->step);
    if (has_trunks_checkpoint(run)) {
      if (has_own_checkpoint(run) || !passes_over_later_samples(checkpoint)) {
        config.branch_from = checkpoint.string();
        return config;
      }
      why = cat("was rolled back to step ", run.branch->step, " by what happened later");
    }
    if (!has_own_checkpoint(run))
      log_info(cat(run.name, ": trained from its beginning, since its trunk '", run.branch->trunk_name, "' ", why));
    return config;
  }

  void reap() {
    for (std::size_t i = 0; i < children_.size();) {
      int status = 0;
      struct rusage usage {};
      if (wait4(children_[i].pid, &status, WNOHANG, &usage) != children_[i].pid) {
        ++i;
        continue;
      }
      finish(children_[i], status, usage);
      children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (!std::exchange(finished_, false)) return;
    advance_and_requeue();
    write_runs_file(sweep_);
  }

  void finish(Child& child, int status, const struct rusage& usage) {
    RunRecord& record = child.record;
    const SweepRun& run = *child.run;
    record.peak_memory_bytes = std::max<std::int64_t>(record.peak_memory_bytes, usage.ru_maxrss * 1024);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    const int killed_by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (code == static_cast<int>(ExitCode::kOk)) {
      record.status = RunStatus::kFinished;
    } else if (code == static_cast<int>(ExitCode::kPreempted) || killed_by == SIGTERM || killed_by == SIGINT ||
               killed_by == SIGHUP || (killed_by == SIGKILL && told_)) {
      record.status = RunStatus::kInterrupted;
      interrupted_ = true;
    } else {
      record.status = RunStatus::kFailed;
      record.error = killed_by != 0
                         ? cat("killed by signal ", killed_by, killed_by == SIGKILL ? " (out of memory?)" : "")
                         : last_words(run.folder() / "sweep.log", code);
      failed_ = true;
    }
    write_record(run, record);
    report(child);
    finished_ = true;
  }

  // On a terminal: one line about what runs.
  void show_status() {
    if (!stderr_is_terminal() || children_.empty() || since_status_.seconds() < kSecondsBetweenLines) return;
    since_status_.restart();
    std::string line = cat(skipped_ + started_ - children_.size(), " of ", total_, " done");
    for (const Child& child : children_) {
      const SweepRun& run = *child.run;
      line += cat("; ", run.name, " at step ", read_results(run).step, " of ", run.config.train.steps);
    }
    show_progress(line);
  }

  void report(const Child& child) const {
    const SweepRun& run = *child.run;
    if (child.record.status == RunStatus::kFailed) {
      log_error(cat(run.name, ": failed: ", child.record.error, " (", (run.folder() / "sweep.log").string(), ")",
                    run.search ? "; to its search that is an infinite loss" : ""));
      return;
    }
    const RunResults results = read_results(run);
    char loss[64] = "";
    if (results.valid_loss) std::snprintf(loss, sizeof loss, ", validation loss %.4f", *results.valid_loss);
    log_info(cat(run.name, ": ", to_string(child.record.status), " after ", static_cast<long>(child.timer.seconds()),
                 " s at step ", results.step, loss));
    if (run.search && child.record.status == RunStatus::kFinished && !results.valid_loss)
      log_warn(cat(run.name, ": it has no finite validation loss; to its search that is an infinite one"));
  }

  Sweep sweep_;
  const RunnerOptions& options_;
  std::set<std::size_t> chosen_;                   // indices of the runs that were asked for
  std::map<std::size_t, std::string> started_as_;  // here, with this config_hash()
  std::size_t total_, skipped_ = 0, started_ = 0;
  std::deque<const SweepRun*> queue_;
  std::vector<Child> children_;
  bool failed_ = false, interrupted_ = false;
  bool told_ = false;      // the children, to stop
  bool finished_ = false;  // a run, since the last look
  Timer since_status_;
};

}  // namespace

bool is_due(const SweepRun& run, const RunRecord& record, bool retry_failed) {
  if (run.search && !run.search->known) return true;
  if (record.config_hash != config_hash(run.config)) return true;
  if (record.status == RunStatus::kFailed) return retry_failed;
  return record.status != RunStatus::kFinished;
}

ExitCode run_sweep(const Sweep& sweep, const std::vector<const SweepRun*>& runs, const RunnerOptions& options) {
  return Runner(sweep, runs, options).run();
}

}  // namespace ttt
