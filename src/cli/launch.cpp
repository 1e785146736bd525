// ttt launch: the ranks of a job on this machine.
#include "launch/launcher.h"

#include <unistd.h>

#include <algorithm>
#include <random>

#include "base/process.h"
#include "base/signals.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "dist/world.h"

namespace ttt {
namespace {

constexpr const char* kFooter =
    R"(What the ranks print is passed on line by line, marked with the rank; rank 0's as it is. Each rank has RANK, WORLD_SIZE,
LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment. When one fails, the others get SIGTERM, later
SIGKILL; they also die with this launcher, however it dies.
Several nodes: the same command on each, with its own --node-rank:
  ttt launch -n 8 --nnodes 2 --node-rank 0 --master-addr node0 --master-port 29500 -- train run.yaml
Exit codes: 0 every rank is done; 1 a rank failed, and its error is shown last; 2 wrong usage or a rank that refused its
  input (never a reason for a restart); 75 stopped by SIGTERM or Ctrl-C with a checkpoint saved: run it again.)";

}  // namespace

ExitCode run_launch(const std::vector<std::string>& args) {
  CLI::App app(
      "Starts N processes of a command on this machine, which train together, and watches over them:\n"
      "  ttt launch -n N [OPTIONS] -- COMMAND [arguments]      e.g. ttt launch -n 8 -- train run.yaml",
      "ttt launch");
  LaunchOptions options;
  app.add_option("-n,--ranks", options.ranks, "processes on this machine, one for each GPU")
      ->required()
      ->check(CLI::Range(1, 4096));
  app.add_option("--max-restarts", options.max_restarts,
                 "after a failure start all ranks again, so many times; training goes on from the last checkpoint")
      ->check(non_negative_number())
      ->capture_default_str();
  app.add_option("--grace", options.grace_seconds,
                 "seconds from SIGTERM to SIGKILL for the ranks that a failed one leaves")
      ->check(non_negative_number())
      ->capture_default_str();
  app.add_flag("--prefix", options.prefix_all, "mark rank 0's lines too");
  bool no_bind = false;
  app.add_flag("--no-bind", no_bind, "do not bind each rank to the cores of one NUMA node");
  app.add_option("--nnodes", options.nodes, "machines of the job, each with a launcher")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--node-rank", options.node, "this machine's number, from 0")
      ->check(non_negative_number())
      ->capture_default_str();
  app.add_option("--master-addr", options.master_addr, "the machine of rank 0, where the ranks meet")
      ->capture_default_str();
  app.add_option("--master-port", options.master_port, "a free port there; with one machine one is found")
      ->check(CLI::Range(1, 65535));
  app.footer(kFooter);

  const auto separator = std::find(args.begin(), args.end(), "--");
  if (!parse_arguments(app, {args.begin(), separator})) return ExitCode::kOk;
  if (separator == args.end() || separator + 1 == args.end()) {
    user_error("`ttt launch` needs the command behind `--`: ttt launch -n ", options.ranks, " -- train CONFIG.yaml");
  }
  if (options.node >= options.nodes) {
    user_error("--node-rank ", options.node, " is not one of ", options.nodes,
               " machines, which count from 0; see --nnodes");
  }
  if (options.nodes > 1 && (app.count("--master-addr") == 0 || options.master_port == 0)) {
    user_error("with --nnodes the machines must know where to meet; name it with --master-addr and --master-port");
  }
  // What a Slurm task or an mpirun that runs this launcher says of itself is not true of the ranks.
  for (const std::string& name : launcher_variables()) options.variables.emplace_back(name, "");
  // Where one launcher starts all ranks, no other job's rank is taken for one of them.
  if (options.nodes == 1) options.variables.emplace_back(kLaunchIdVariable, cat(getpid(), "-", std::random_device()()));
  if (!no_bind) options.numa_nodes = this_machine().nodes;
  options.command = {own_program().string()};
  options.command.insert(options.command.end(), separator + 1, args.end());
  outlive_readers();
  return launch(options);
}

}  // namespace ttt
