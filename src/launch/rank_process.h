// One rank: a child process with an environment of its own, whose output comes through pipes.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "launch/line_forwarder.h"

namespace ttt {

class RankProcess {
 public:
  using Variables = std::vector<std::pair<std::string, std::string>>;

  // Starts `command` (a program's path and its arguments) with these variables set beside the inherited ones; a
  // variable that is "" is unset; on these processors, where any are named. Lines are marked with `prefix`.
  // `own_stderr`: the child writes to this process's stderr itself, so that on a terminal it knows that it is one. It
  // gets SIGKILL when this process dies. Throws Error.
  RankProcess(int rank, const std::vector<std::string>& command, const Variables& variables,
              const std::vector<int>& processors, const std::string& prefix, bool own_stderr);
  ~RankProcess();  // the process must have been reaped
  RankProcess(const RankProcess&) = delete;
  RankProcess& operator=(const RankProcess&) = delete;

  int rank() const { return rank_; }
  bool running() const { return pid_ > 0; }
  void signal(int number) const;
  // Takes note of its end, if it has ended, and passes on what it printed last. True when it ended just now.
  bool reap();

  // Once it has ended:
  int exit_code() const { return exit_code_; }  // -1 when a signal killed it
  int killed_by() const { return killed_by_; }  // the signal, or 0
  std::string how_it_ended() const;             // "exit code 1", "killed by SIGKILL"
  // What it said last on stderr: its line "error: ...", else its last few lines; nothing where it wrote there itself.
  std::vector<std::string> last_words() const;

  // Descriptors to poll for input, and passing on what they hold.
  std::vector<int> open_pipes() const;
  void forward();

 private:
  struct Stream {
    int fd = -1;
    LineForwarder lines;
  };
  void forward(Stream& stream);

  int rank_;
  pid_t pid_ = -1;
  int exit_code_ = -1, killed_by_ = 0;
  std::vector<Stream> streams_;  // stdout, and stderr where it is not the child's own
};

}  // namespace ttt
