#include "base/signals.h"

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
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, &old_term_);
  action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);  // the default action is back for the second one
  sigaction(SIGINT, &action, &old_int_);
}

SignalGuard::~SignalGuard() {
  // A process that was asked to stop is ending: asking again must not change the exit code that it ends with.
  if (stop_requested()) {
    std::signal(SIGTERM, SIG_IGN);
  } else {
    sigaction(SIGTERM, &old_term_, nullptr);
  }
  sigaction(SIGINT, &old_int_, nullptr);
}

bool SignalGuard::stop_requested() const {
  return received_signal != 0;
}

const char* SignalGuard::name() const {
  return received_signal == SIGINT ? "SIGINT" : "SIGTERM";
}

}  // namespace ttt
