// ttt diff RUN_A RUN_B: the first step at which two runs part.
#include <iostream>

#include "cli/command.h"
#include "cli/parse.h"
#include "train/run_diff.h"

namespace ttt {

ExitCode run_diff(const std::vector<std::string>& args) {
  CLI::App app(
      "The first step at which two runs part, and in what: the samples they took, the bits of the loss and of the\n"
      "gradient norm, the parameters (hashed every train.digest_every steps); and how their configs differ.\n"
      "Reads ledger.jsonl and config.yaml of both output folders. Exit codes: 0 equal in every step that both have;\n"
      "1 different; 2 wrong usage or input.",
      "ttt diff");
  std::string a, b;
  bool json = false;
  app.add_option("run_a", a, "the output_dir of a run")->required()->option_text("RUN_A");
  app.add_option("run_b", b, "the output_dir of another")->required()->option_text("RUN_B");
  app.add_flag("--json", json, "print one JSON object");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  const RunDiff diff = diff_runs(a, b);
  std::cout << (json ? to_line(to_json(diff)) : to_text(diff));
  return diff.equal() ? ExitCode::kOk : ExitCode::kFailed;
}

}  // namespace ttt
