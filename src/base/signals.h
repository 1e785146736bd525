// SIGTERM (a scheduler's notice) and SIGINT (Ctrl-C) ask a run to finish its step, save and exit 75, and a sweep to
// stop its runs that way.
#pragma once

#include <csignal>

namespace ttt {

// Catches both signals while it lives. A second SIGINT has the default action: it ends the process at once. Once a stop
// was requested, SIGTERM stays ignored to the end of the process, so that it ends with the exit code that says so.
class SignalGuard {
 public:
  SignalGuard();
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;

  bool stop_requested() const;
  const char* name() const;  // "SIGTERM" or "SIGINT", once requested

 private:
  struct sigaction old_term_ {
  }, old_int_{};
};

}  // namespace ttt
