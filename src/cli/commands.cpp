// The table of commands, `ttt --help`, and the look-up of a command by name.
#include <iomanip>
#include <iostream>

#include "base/log.h"
#include "base/process.h"
#include "cli/command.h"
#include "cli/version.h"
#include "config/load.h"
#include "dist/world.h"
#include "model/self_check.h"

namespace ttt {
namespace {

void print_help() {  // fits a terminal of 80 x 24
  std::cout << "ttt: pretraining language models with Test-Time-Training layers\n"
               "usage: ttt COMMAND [arguments]          `ttt COMMAND --help` explains a command\n\n";
  for (const Command& command : commands()) {
    if (command.hidden) continue;
    std::cout << "  " << std::left << std::setw(15) << command.name << command.summary << "\n";
  }
  std::cout << "\n"
               "options: --help; --version, what it was built from (with --json for scripts)\n"
               "exit codes: 0 done; 1 failed; 2 wrong usage, config or input; 75 stopped, saved\n";
}

// mpirun and its like start any command several times; most know nothing of one another.
void warn_of_other_processes(const Command& command) {
  World world;
  try {
    world = world_from_environment();
  } catch (const UserError&) {
    return;  // of concern to those who need the numbers
  }
  if (world.alone()) return;
  log_warn(cat("this is process ", world.rank, " of ", world.size, " by ", world.launcher, ", and `ttt ", command.name,
               "` is not divided among processes: each does all of it"));
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      {"train", "train a model from a config, or resume it", run_train, true},
      {"launch", "ranks that train together here, watched over and restarted", run_launch, true},
      {"config", "a config's resolved values, and where each comes from", run_config},
      {"plan", "what a run will cost: parameters, FLOPs, memory, disk, hours", run_plan},
      {"bench", "training steps and ops, timed beside what bounds them", run_bench},
      {"sweep", "train a grid of configs, here or as a Slurm array; resumable", run_sweep_command},
      {"fit", "scaling laws from the results of runs", run_fit},
      {"report", "runs or a sweep as one HTML page", run_report},
      {"tokenizer", "train a SentencePiece tokenizer, encode and decode with it", run_tokenizer},
      {"prepare", "text, token arrays or synthetic tasks to token shards", run_prepare},
      {"eval", "loss of checkpoints on a data set, by position; task accuracy", run_eval},
      {"generate", "text from a checkpoint", run_generate},
      {"convert", "parameters of other codes to a checkpoint", run_convert},
      {"inspect", "what a checkpoint or a data set holds, and whether it is whole", run_inspect},
      {"diff", "the first step at which two runs part, and in what", run_diff},
      {"verify-resume", "does a config's training, killed and resumed, end the same", run_verify_resume},
      {"doctor", "what this machine has, and how fast it is", run_doctor, true},
      {"baseline", "bits per byte of n-gram models on a data set", run_baseline},
      {"self-check", "fused rows against fp64, for the process that asks", run_self_check, true, true},
  };
  return table;
}

ExitCode run_command_line(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    print_help();
    return ExitCode::kUsage;
  }
  set_self_check_program(own_program());
  const std::string& name = arguments.front();
  if (name == "--help" || name == "-h" || name == "help") {
    print_help();
    return ExitCode::kOk;
  }
  if (name == "--version") {
    const bool json = arguments.size() > 1 && arguments[1] == "--json";
    if (arguments.size() > (json ? 2 : 1)) user_error("--version takes nothing behind it but --json");
    std::cout << (json ? to_line(version_json()) : version_text());
    return ExitCode::kOk;
  }
  std::vector<std::string> names = {"--help", "--version"};
  for (const Command& command : commands()) {
    if (name == command.name) {
      if (!command.knows_ranks) warn_of_other_processes(command);
      return command.run({arguments.begin() + 1, arguments.end()});
    }
    if (!command.hidden) names.emplace_back(command.name);
  }
  const std::string near = nearest(name, names);
  user_error("there is no command '", name, "'; ",
             near.empty() ? std::string("`ttt --help` lists the commands") : cat("did you mean 'ttt ", near, "'?"));
}

}  // namespace ttt
