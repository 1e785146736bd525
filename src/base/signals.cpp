#include "base/signals.h"

#include <cstring>

#include "base/error.h"

namespace ttt {
namespace {

// A handler may do little more than set a flag of this type.
volatile std::sig_atomic_t received_signal = 0;

void on_signal(int signal) {
  received_signal = signal;
}

}  // namespace

SignalGuard::SignalGuard() {
  received_signal = 0;
  for (const int number : {SIGTERM, SIGHUP, SIGXCPU, SIGINT}) {
    Previous previous{number, {}};
    sigaction(number, nullptr, &previous.action);
    if (number == SIGHUP && previous.action.sa_handler == SIG_IGN) continue;
    struct sigaction action {};
    action.sa_handler = on_signal;
    // Of SIGINT the default action is back for the second one.
    action.sa_flags = number == SIGINT ? static_cast<int>(SA_RESTART | SA_RESETHAND) : SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, nullptr);
    previous_.push_back(previous);
  }
}

SignalGuard::~SignalGuard() {
  for (const Previous& previous : previous_) {
    // A process that was asked to stop is ending: asking again must not change the exit code that it ends with.
    if (stop_requested() && previous.signal != SIGINT) {
      std::signal(previous.signal, SIG_IGN);
    } else {
      sigaction(previous.signal, &previous.action, nullptr);
    }
  }
}

bool SignalGuard::stop_requested() const {
  return received_signal != 0;
}

std::string SignalGuard::name() const {
  return cat("SIG", sigabbrev_np(received_signal));
}

void report_file_size_limit() {
  std::signal(SIGXFSZ, SIG_IGN);
}

void outlive_readers() {
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace ttt
