// SIGTERM (a scheduler's notice), SIGINT (Ctrl-C), SIGHUP (a terminal or a connection that was closed) and SIGXCPU (a
// limit of processor time) ask a run to finish its step, save and exit 75, and a sweep to stop its runs that way.
// Signals about a write that fails ask for nothing: the write says why.
#pragma once

#include <csignal>
#include <string>
#include <vector>

namespace ttt {

// Catches these signals while it lives, but for a SIGHUP that is ignored (nohup). A second SIGINT has the default
// action: it ends the process at once. Once a stop was requested, the others stay ignored to the end of the process, so
// that it ends with the exit code that says so.
class SignalGuard {
 public:
  SignalGuard();
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

  bool stop_requested() const;
  std::string name() const;  // such as "SIGTERM", once requested

 private:
  struct Previous {
    int signal;
    struct sigaction action;
  };
  std::vector<Previous> previous_;
};

// A file that passes `ulimit -f` is an error of that write, with a sentence, and not a silent death (SIGXFSZ).
void report_file_size_limit();

// Nobody may read any more what this process says: `ttt train 2>&1 | tee log`, and Ctrl-C ends tee, too. What it says
// is lost, what it does is not (SIGPIPE). For commands whose work is worth more than their words.
void outlive_readers();

}  // namespace ttt
