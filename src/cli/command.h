// A subcommand of `ttt`: its file under cli/ parses arguments, calls the library, prints.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace ttt {

struct Command {
  const char* name;
  const char* summary;  // one line, for `ttt --help`
  // args: what follows the command's name. Throws UserError / Error.
  ExitCode (*run)(const std::vector<std::string>& args);
  bool knows_ranks = false;  // what to do when a launcher starts several of it
  bool hidden = false;       // of use to this program alone; help does not list it
};

// Every command, in the order in which `ttt --help` lists them (cli/commands.cpp).
const std::vector<Command>& commands();

// The program after its name: a command and its arguments, or --help, --version.
ExitCode run_command_line(const std::vector<std::string>& arguments);

ExitCode run_train(const std::vector<std::string>& args);
ExitCode run_launch(const std::vector<std::string>& args);
ExitCode run_config(const std::vector<std::string>& args);
ExitCode run_plan(const std::vector<std::string>& args);
ExitCode run_bench(const std::vector<std::string>& args);
ExitCode run_sweep_command(const std::vector<std::string>& args);
ExitCode run_fit(const std::vector<std::string>& args);
ExitCode run_report(const std::vector<std::string>& args);
ExitCode run_tokenizer(const std::vector<std::string>& args);
ExitCode run_prepare(const std::vector<std::string>& args);
ExitCode run_eval(const std::vector<std::string>& args);
ExitCode run_generate(const std::vector<std::string>& args);
ExitCode run_convert(const std::vector<std::string>& args);
ExitCode run_inspect(const std::vector<std::string>& args);
ExitCode run_diff(const std::vector<std::string>& args);
ExitCode run_verify_resume(const std::vector<std::string>& args);
ExitCode run_doctor(const std::vector<std::string>& args);
ExitCode run_self_check(const std::vector<std::string>& args);
ExitCode run_baseline(const std::vector<std::string>& args);

}  // namespace ttt
