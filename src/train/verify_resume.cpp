#include "train/verify_resume.h"

#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/metrics_kind.h"
#include "base/process.h"
#include "base/timer.h"
#include "checkpoint/checkpoint.h"
#include "config/load.h"

namespace ttt {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(5);

// The losses of the steps that a run has recorded so far; a line that is being written does not count.
std::map<std::int64_t, double> losses_of(const fs::path& run) {
  std::map<std::int64_t, double> losses;
  std::ifstream lines(run / "metrics.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (kind_of(json) == "train") losses[json["step"]] = json["loss"];
  }
  return losses;
}

std::int64_t last_step(const fs::path& run) {
  const auto losses = losses_of(run);
  return losses.empty() ? 0 : losses.rbegin()->first;
}

class Verifier {
 public:
  explicit Verifier(const VerifyResumeOptions& options) : options_(options), random_(options.seed) {
    const RunConfig config = load_run_config(options.config, options.overrides);
    overrides_ = options.overrides;
    // The schedule of the whole training, of which the runs are the first steps.
    const std::int64_t decay = config.optim.decay_steps > 0 ? config.optim.decay_steps : config.train.steps;
    for (const std::string& setting :
         {cat("train.steps=", options.steps), cat("optim.decay_steps=", decay),
          cat("checkpoint.every=", std::max<std::int64_t>(1, options.steps / 6)), std::string("checkpoint.keep_last=3"),
          cat("train.digest_every=", std::max<std::int64_t>(1, options.steps / 10)),
          // A part of the run, from its own beginning.
          std::string("checkpoint.keep_steps="), std::string("branch_from="), std::string("train.tensorboard=false")})
      overrides_.push_back(setting);
  }

  VerifyResumeReport run() {
    VerifyResumeReport report;
    report.steps = options_.steps;
    make_writable_directory(options_.work);
    log_info(cat("undisturbed: ", options_.steps, " steps", on_ranks(options_.ranks)));
    const Timer timer;
    const pid_t pid = start("undisturbed", options_.ranks);
    check_end("undisturbed", wait_for(pid));
    report.seconds = timer.seconds();
    keep_products();
    report.runs.push_back(disturbed("killed", {options_.ranks}));
    if (options_.other_ranks > 0) {
      report.runs.push_back(disturbed("other_ranks", {options_.ranks, options_.other_ranks}));
      report.runs.back().must_be_equal = options_.other_ranks == options_.ranks;
    }
    return report;
  }

 private:
  // The others multiply bf16 as the first run did, which may have measured two ways that are about as fast.
  void keep_products() {
    const fs::path state = list_checkpoints(folder("undisturbed") / "checkpoints").back().second / "state.json";
    const std::string products = Json::parse(read_file(state)).value("bf16_products", std::string());
    if (products == "native" || products == "fp32_panels") overrides_.push_back(cat("train.bf16_products=", products));
  }

  static std::string on_ranks(int ranks) { return ranks == 1 ? "" : cat(" on ", ranks, " ranks"); }
  fs::path folder(const std::string& name) const { return options_.work / name; }
  fs::path log(const std::string& name) const { return options_.work / (name + ".log"); }

  pid_t start(const std::string& name, int ranks) const {
    std::vector<std::string> command = {own_program().string()};
    if (ranks > 1) command.insert(command.end(), {"launch", "-n", cat(ranks), "--"});
    command.insert(command.end(), {"train", options_.config});
    command.insert(command.end(), overrides_.begin(), overrides_.end());
    command.push_back(cat("output_dir=", folder(name).string()));
    return start_process(command, log(name), SIGKILL);
  }

  static int wait_for(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
  }

  void check_end(const std::string& name, int status) const {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    const std::string words = last_words(log(name), code);
    if (code == static_cast<int>(ExitCode::kUsage)) {
      fs::remove_all(options_.work);  // which was made here, and would be in the way of the corrected command
      throw UserError(words);
    }
    fail("the run '", folder(name).string(), "' ended by itself: ", words, " (", log(name).string(), ")");
  }

  // Kills the run at a random moment after step `after`; false when it ended before.
  bool killed(const std::string& name, pid_t pid, std::int64_t after, double step_seconds) {
    const auto ended = [&] {
      int status = 0;
      if (waitpid(pid, &status, WNOHANG) != pid) return false;
      check_end(name, status);
      return true;
    };
    while (last_step(folder(name)) < after) {
      if (ended()) return false;
      std::this_thread::sleep_for(kPoll);
    }
    std::this_thread::sleep_for(
        std::chrono::duration<double>(std::uniform_real_distribution<>(0, step_seconds)(random_)));
    if (ended()) return false;
    kill(pid, SIGKILL);
    wait_for(pid);
    return true;
  }

  VerifyResumeReport::Disturbed disturbed(const std::string& name, const std::vector<int>& ranks) {
    VerifyResumeReport::Disturbed run;
    run.name = name;
    const auto straight = losses_of(folder("undisturbed"));
    std::vector<std::int64_t> moments;
    for (int i = 0; i < options_.kills; ++i)
      moments.push_back(std::uniform_int_distribution<std::int64_t>(1, options_.steps - 1)(random_));
    std::sort(moments.begin(), moments.end());
    const double step_seconds = mean_step_seconds();
    for (std::size_t i = 0;; ++i) {
      const int now = ranks[i % ranks.size()];
      run.ranks.push_back(now);
      const pid_t pid = start(name, now);
      if (i < moments.size() && killed(name, pid, moments[i], step_seconds)) {
        run.killed_at.push_back(last_step(folder(name)));
        log_info(cat(name, ": killed after step ", run.killed_at.back(), on_ranks(now)));
        continue;
      }
      if (i >= moments.size()) check_end(name, wait_for(pid));
      break;
    }
    run.diff = diff_runs(folder("undisturbed"), folder(name));
    for (const auto& [step, loss] : losses_of(folder(name))) {
      const auto other = straight.find(step);
      if (other == straight.end()) continue;
      run.largest_loss_difference =
          std::max(run.largest_loss_difference, std::abs(loss - other->second) / std::abs(other->second));
    }
    const std::string last = checkpoint_path("checkpoints", options_.steps);
    for (const auto& [file, bytes] : verify_checkpoint(folder("undisturbed") / last).files) {
      if (file == "config.yaml" || file == "manifest.json") continue;  // they name the folder
      const fs::path a = folder("undisturbed") / last / file, b = folder(name) / last / file;
      if (!fs::exists(b) || read_file(a) != read_file(b)) run.other_files.push_back(file);
    }
    return run;
  }

  double mean_step_seconds() const {
    double sum = 0;
    std::int64_t steps = 0;
    std::ifstream lines(folder("undisturbed") / "metrics.jsonl");
    for (std::string line; std::getline(lines, line);) {
      const Json json = Json::parse(line);
      if (json["kind"] == "train") sum += json["seconds"].get<double>(), ++steps;
    }
    return steps == 0 ? 0 : sum / static_cast<double>(steps);
  }

  VerifyResumeOptions options_;
  std::vector<std::string> overrides_;
  std::mt19937_64 random_;
};

std::string joined(const auto& values) {
  std::string text;
  for (const auto& value : values) text += cat(text.empty() ? "" : ", ", value);
  return text;
}

}  // namespace

bool VerifyResumeReport::Disturbed::passed() const {
  if (must_be_equal) return diff.equal() && other_files.empty();
  const bool same_samples =
      !diff.first || std::find(diff.first->what.begin(), diff.first->what.end(), "samples") == diff.first->what.end();
  return same_samples && largest_loss_difference <= kRankBound;
}

bool VerifyResumeReport::passed() const {
  return std::all_of(runs.begin(), runs.end(), [](const Disturbed& run) { return run.passed(); });
}

VerifyResumeReport verify_resume(const VerifyResumeOptions& options) {
  if (options.steps < 4) user_error("--steps ", options.steps, " leaves no room for kills; take at least 4");
  if (fs::exists(options.work)) {
    user_error("'", options.work.string(),
               "' exists; the runs need a folder of their own (--work), which is made anew");
  }
  return Verifier(options).run();
}

Json to_json(const VerifyResumeReport& report) {
  Json runs = Json::array();
  for (const auto& run : report.runs) {
    runs.push_back({{"name", run.name},
                    {"passed", run.passed()},
                    {"killed_after_steps", run.killed_at},
                    {"ranks", run.ranks},
                    {"must_be_equal", run.must_be_equal},
                    {"diff", to_json(run.diff)},
                    {"largest_loss_difference", run.largest_loss_difference},
                    {"other_files", run.other_files}});
  }
  return {{"passed", report.passed()}, {"steps", report.steps}, {"seconds", report.seconds}, {"runs", runs}};
}

std::string to_text(const VerifyResumeReport& report) {
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "%.1f", report.seconds);
  std::string text = cat("undisturbed    ", report.steps, " steps in ", seconds, " s\n");
  for (const auto& run : report.runs) {
    std::string name = run.name;
    name.resize(std::max<std::size_t>(15, name.size() + 1), ' ');
    text += cat(name, "kill -9 after steps ", run.killed_at.empty() ? "(none: it was over)" : joined(run.killed_at),
                "; ranks ", joined(run.ranks), "\n");
    const std::string blank(15, ' ');
    char difference[32];
    std::snprintf(difference, sizeof difference, "%.1e", run.largest_loss_difference);
    if (run.must_be_equal && run.passed()) {
      text +=
          cat(blank, "EQUAL: samples, loss and gradient norm of all ", run.diff.steps_compared, " steps, ",
              run.diff.digests_compared, " parameter digests, every byte of the last checkpoint's tensors and state\n");
    } else if (run.passed()) {
      text += cat(blank, "SAME CURVE: the same samples in all ", run.diff.steps_compared, " steps, losses within ",
                  difference, " (bound ", kRankBound, ")\n");
    } else if (run.diff.first) {
      text += cat(blank, "DIFFERENT from step ", run.diff.first->step, " on, in ", joined(run.diff.first->what),
                  "; losses by up to ", difference, "\n");
    } else {
      text += cat(blank, "DIFFERENT at the end: ", joined(run.other_files), "\n");
    }
  }
  return text;
}

}  // namespace ttt
