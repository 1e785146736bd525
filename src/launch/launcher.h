// Starts the local ranks of a job as processes of their own, supervises them and starts them again (`ttt launch`).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/machine.h"

namespace ttt {

struct LaunchOptions {
  std::vector<std::string> command;  // of every rank: a program's path and its arguments
  int ranks = 1;                     // on this node
  int nodes = 1, node = 0;           // nodes of the job, each with a launcher of its own; this one's number
  std::string master_addr = "127.0.0.1";
  int master_port = 0;        // 0: a free one, another at each start (one node alone)
  int max_restarts = 0;       // starts of all ranks after a failure
  double grace_seconds = 30;  // from SIGTERM to SIGKILL for the ranks that a failed one leaves behind
  bool prefix_all = false;    // also mark the lines of the node's first rank
  // Variables that the ranks get besides. An empty value: they do not get what this process has.
  std::vector<std::pair<std::string, std::string>> variables;
  std::vector<NumaNode> numa_nodes;  // to which the ranks are bound (processors_of_rank); empty: they are not
};

// Runs the command in `ranks` processes with RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and
// MASTER_PORT set, until all have ended. Their standard input is
// empty. What they print is passed on line by line, marked "[RANK] "; the first rank's is passed on as it is.
//
// When a rank fails, the others get SIGTERM, after grace_seconds SIGKILL; when all have ended, either all are started
// again, or one block on stderr says which rank failed first and with what words. A rank that refused its input (exit
// code 2) would do so again: that is no reason for a restart. SIGTERM, SIGINT and SIGHUP (a terminal or a
// connection that was closed) to this process become SIGTERM for the ranks; a second SIGINT kills them. Ranks get
// SIGKILL when this process dies, however it dies.
//
// Returns kOk when every rank did, kPreempted when some were preempted (exit code 75) and none failed, kUsage when the
// rank that failed first ended with 2, else kFailed.
ExitCode launch(const LaunchOptions& options);

}  // namespace ttt
