// The table of commands, `ttt --help`, and the look-up of a command by name.
#include <iomanip>
#include <iostream>

#include "cli/command.h"
#include "config/load.h"

namespace ttt {
namespace {

void print_help() {
  std::cout << "ttt: pretraining language models with Test-Time-Training layers (arXiv 2407.04620)\n\n"
               "usage: ttt COMMAND [arguments]        `ttt COMMAND --help` explains a command\n\n";
  for (const Command& command : commands()) {
    std::cout << "  " << std::left << std::setw(11) << command.name << command.summary << "\n";
  }
  std::cout << "\n"
               "  --help     this page\n"
               "  --version  the version\n"
               "\n"
               "exit codes: 0 done; 1 failed; 2 wrong usage, config or input; 75 stopped by a signal, checkpoint "
               "saved, run again\n"
               "\n"
               "examples:\n"
               "  ttt train configs/run/quickstart.yaml train.steps=200 output_dir=runs/try\n"
               "  ttt generate --checkpoint runs/try 'class Tensor' --max-tokens 100\n";
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      {"train", "train a model from a config, or resume it", run_train},
      {"tokenizer", "train a SentencePiece tokenizer, encode and decode with it", run_tokenizer},
      {"prepare", "text files or token arrays to token shards", run_prepare},
      {"eval", "loss, perplexity and bits per byte of a checkpoint on a data set", run_eval},
      {"generate", "text from a checkpoint", run_generate},
      {"convert", "parameters of other codes to a checkpoint", run_convert},
      {"inspect", "what a checkpoint or a data set holds, and whether it is whole", run_inspect},
      {"baseline", "bits per byte of n-gram models on a data set", run_baseline},
  };
  return table;
}

ExitCode run_command_line(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    print_help();
    return ExitCode::kUsage;
  }
  const std::string& name = arguments.front();
  if (name == "--help" || name == "-h" || name == "help") {
    print_help();
    return ExitCode::kOk;
  }
  if (name == "--version") {
    std::cout << "ttt " << kVersion << "\n";
    return ExitCode::kOk;
  }
  std::vector<std::string> names = {"--help", "--version"};
  for (const Command& command : commands()) {
    if (name == command.name) return command.run({arguments.begin() + 1, arguments.end()});
    names.emplace_back(command.name);
  }
  const std::string near = nearest(name, names);
  user_error("there is no command '", name, "'; ",
             near.empty() ? std::string("`ttt --help` lists the commands") : cat("did you mean 'ttt ", near, "'?"));
}

}  // namespace ttt
