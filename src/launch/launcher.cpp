#include "launch/launcher.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <memory>

#include "base/log.h"
#include "base/timer.h"
#include "launch/binding.h"
#include "launch/rank_process.h"

namespace ttt {
namespace {

constexpr int kPollMilliseconds = 500;  // only for deadlines: everything else wakes the poll

// SIGCHLD and the signals that ask for the end as something to poll, while it lives. One that is ignored (nohup) stays
// so.
class SignalQueue {
 public:
  SignalQueue() {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&wanted, number);
    sigprocmask(SIG_BLOCK, &wanted, &before_);
    fd_ = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
    TTT_CHECK(fd_ >= 0, "signalfd");
  }
  ~SignalQueue() {
    close(fd_);
    // This process is about to end: asking again must not change the exit code that it ends with.
    std::signal(SIGTERM, SIG_IGN);
    sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalQueue(const SignalQueue&) = delete;
  SignalQueue& operator=(const SignalQueue&) = delete;

  int fd() const { return fd_; }
  // The next one received, or 0.
  int take() const {
    signalfd_siginfo info{};
    return read(fd_, &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  int fd_ = -1;
  sigset_t before_{};
};

// A port of the loopback interface that nobody listens on now.
int free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  const bool found = fd >= 0 && bind(fd, any, size) == 0 && getsockname(fd, any, &size) == 0;
  if (fd >= 0) close(fd);
  if (!found) fail("no free port for the ranks to meet at; name one with --master-port");
  return ntohs(address.sin_port);
}

// All ranks of this node from their start to their end.
class Attempt {
 public:
  Attempt(const LaunchOptions& options, const SignalQueue& signals) : options_(options), signals_(signals) {}

  void run();
  bool stopped() const { return stopped_; }  // by a signal to this process
  ExitCode code() const;
  std::string first_failure() const;  // "rank 1 (exit code 1)"
  void report() const;

 private:
  void start();
  void take_signals();
  void collect();
  void note_end(const RankProcess& rank);
  void end_others();
  void signal_all(int number) const;
  bool any_running() const;

  const LaunchOptions& options_;
  const SignalQueue& signals_;
  std::vector<std::unique_ptr<RankProcess>> ranks_;
  std::vector<const RankProcess*> failed_;  // in the order in which they ended
  bool preempted_ = false, stopped_ = false, ending_ = false, killed_ = false;
  Timer since_ending_;
};

void Attempt::run() {
  try {
    start();
  } catch (...) {
    signal_all(SIGKILL);
    while (any_running()) {
      for (auto& rank : ranks_) rank->reap();
      usleep(1000);
    }
    throw;
  }
  while (any_running()) {
    std::vector<pollfd> waiting = {{signals_.fd(), POLLIN, 0}};
    for (const auto& rank : ranks_)
      for (const int fd : rank->open_pipes()) waiting.push_back({fd, POLLIN, 0});
    poll(waiting.data(), waiting.size(), kPollMilliseconds);
    take_signals();
    for (const auto& rank : ranks_) rank->forward();
    collect();
    if (ending_ && !killed_ && since_ending_.seconds() > options_.grace_seconds) {
      killed_ = true;
      signal_all(SIGKILL);
    }
  }
}

void Attempt::start() {
  const int port = options_.master_port > 0 ? options_.master_port : free_port();
  for (int local = 0; local < options_.ranks; ++local) {
    const int rank = options_.node * options_.ranks + local;
    RankProcess::Variables variables = {
        {"RANK", cat(rank)},
        {"WORLD_SIZE", cat(options_.nodes * options_.ranks)},
        {"LOCAL_RANK", cat(local)},
        {"LOCAL_WORLD_SIZE", cat(options_.ranks)},
        {"MASTER_ADDR", options_.master_addr},
        {"MASTER_PORT", cat(port)},
    };
    variables.insert(variables.end(), options_.variables.begin(), options_.variables.end());
    const bool plain = local == 0 && !options_.prefix_all;
    const std::vector<int> bound = processors_of_rank(local, options_.ranks, options_.numa_nodes, allowed_processors());
    ranks_.push_back(std::make_unique<RankProcess>(rank, options_.command, variables, bound,
                                                   plain ? "" : cat("[", rank, "] "), plain && stderr_is_terminal()));
  }
}

void Attempt::take_signals() {
  while (const int number = signals_.take()) {
    if (number == SIGCHLD) continue;
    const bool again = stopped_ && number == SIGINT;
    stopped_ = true;
    log_info(cat("SIG", sigabbrev_np(number), ": the ranks are ",
                 again ? "killed" : "told to save and end; a second Ctrl-C kills them"));
    killed_ = killed_ || again;
    signal_all(again ? SIGKILL : SIGTERM);
  }
}

void Attempt::collect() {
  std::vector<const RankProcess*> ended;
  for (const auto& rank : ranks_)
    if (rank->reap()) ended.push_back(rank.get());
  // Of ranks that ended at once, a killed one is the cause and an error elsewhere the consequence.
  std::stable_partition(ended.begin(), ended.end(), [](const RankProcess* rank) { return rank->killed_by() != 0; });
  for (const RankProcess* rank : ended) note_end(*rank);
  if (!failed_.empty()) end_others();
}

void Attempt::note_end(const RankProcess& rank) {
  // A terminal sends Ctrl-C and its end to the ranks, too.
  const bool by_terminal = stopped_ && (rank.killed_by() == SIGINT || rank.killed_by() == SIGHUP);
  const bool by_order = rank.killed_by() == SIGTERM || (rank.killed_by() == SIGKILL && killed_) || by_terminal;
  if (rank.exit_code() == static_cast<int>(ExitCode::kOk)) return;
  if (rank.exit_code() == static_cast<int>(ExitCode::kPreempted) || (stopped_ && by_order)) {
    preempted_ = true;  // told to stop before it had anything to save, or killed by the second Ctrl-C
  } else if (!(ending_ && by_order)) {
    failed_.push_back(&rank);
  }
}

void Attempt::end_others() {
  if (ending_) return;
  ending_ = true;
  since_ending_.restart();
  signal_all(SIGTERM);
}

void Attempt::signal_all(int number) const {
  for (const auto& rank : ranks_) rank->signal(number);
}

bool Attempt::any_running() const {
  return std::any_of(ranks_.begin(), ranks_.end(), [](const auto& rank) { return rank->running(); });
}

ExitCode Attempt::code() const {
  if (!failed_.empty()) {
    return failed_.front()->exit_code() == static_cast<int>(ExitCode::kUsage) ? ExitCode::kUsage : ExitCode::kFailed;
  }
  return preempted_ ? ExitCode::kPreempted : ExitCode::kOk;
}

std::string Attempt::first_failure() const {
  return cat("rank ", failed_.front()->rank(), " (", failed_.front()->how_it_ended(), ")");
}

void Attempt::report() const {
  std::string text = cat(first_failure(), " failed first");
  for (const RankProcess* rank : failed_) {
    if (rank != failed_.front()) text += cat("\nthen rank ", rank->rank(), " (", rank->how_it_ended(), ")");
    if (rank->killed_by() == SIGKILL) {  // it did not see it coming
      text += "; out of memory, or killed by hand";
      continue;
    }
    const std::vector<std::string> words = rank->last_words();
    if (rank == failed_.front() && words.empty()) text += "; what it said is above";
    for (const std::string& line : words) text += cat("\n    [", rank->rank(), "] ", line);
  }
  print_error(text);
}

}  // namespace

ExitCode launch(const LaunchOptions& options) {
  const SignalQueue signals;
  for (int restarts = 0;; ++restarts) {
    Attempt attempt(options, signals);
    attempt.run();
    const ExitCode code = attempt.code();
    if (code != ExitCode::kFailed || attempt.stopped() || restarts == options.max_restarts) {
      if (code == ExitCode::kFailed || code == ExitCode::kUsage) attempt.report();
      return code;
    }
    attempt.report();
    log_warn(cat("restart ", restarts + 1, " of ", options.max_restarts, ": ", attempt.first_failure(),
                 " failed; all ranks start again, from the last checkpoint where there is one"));
  }
}

}  // namespace ttt
