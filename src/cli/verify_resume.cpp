// ttt verify-resume CONFIG.yaml [key=value ...]: is this training safe to kill, here?
#include "train/verify_resume.h"

#include <iostream>
#include <random>

#include "base/files.h"
#include "base/signals.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "config/load.h"

namespace ttt {

ExitCode run_verify_resume(const std::vector<std::string>& args) {
  CLI::App app(
      "Trains a config's first steps three ways and compares: undisturbed; killed with SIGKILL at random moments and\n"
      "resumed; with --other-ranks also changing the number of processes at every kill. At an equal number of ranks\n"
      "every sample, loss, gradient norm, parameter and byte of optimizer state must be equal; where it changes, the\n"
      "samples, and losses to rounding. Exit codes: 0 so it is; 1 not so; 2 wrong usage or config.",
      "ttt verify-resume");
  VerifyResumeOptions options;
  std::string work;
  bool keep = false, json = false;
  add_config_arguments(app, options.config, options.overrides, /*partial=*/false);
  app.add_option("--steps", options.steps, "of each run")->check(positive_number())->capture_default_str();
  app.add_option("--kills", options.kills, "of each disturbed run")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--ranks", options.ranks, "processes, as `ttt launch -n` starts them")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--other-ranks", options.other_ranks, "and a run that goes to and fro between --ranks and these")
      ->check(CLI::Range(1, 4096));
  app.add_option("--seed", options.seed, "of the moments; where not given, another one each time");
  app.add_option("--work", work, "folder for the runs; default: OUTPUT_DIR-verify-resume");
  app.add_flag("--keep", keep, "leave the runs there (a failed comparison always does)");
  app.add_flag("--json", json, "print one JSON object");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  const RunConfig config = load_run_config(options.config, options.overrides);
  options.work = work.empty() ? config.output_dir + "-verify-resume" : work;
  if (app.count("--seed") == 0) options.seed = std::random_device()();
  outlive_readers();
  const VerifyResumeReport report = verify_resume(options);
  std::cout << (json ? to_line(to_json(report)) : to_text(report));
  if (report.passed() && !keep) {
    fs::remove_all(options.work);
  } else if (!json) {
    std::cout << "the runs are in '" << options.work.string() << "'\n";
  }
  return report.passed() ? ExitCode::kOk : ExitCode::kFailed;
}

}  // namespace ttt
