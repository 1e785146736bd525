#include "launch/rank_process.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/error.h"

extern char** environ;

namespace ttt {
namespace {

constexpr std::string_view kError = "error: ";

std::vector<std::string> environment_with(const RankProcess::Variables& variables) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool replaced = std::any_of(variables.begin(), variables.end(), [&](const auto& variable) {
      return text.starts_with(variable.first) && text.substr(variable.first.size()).starts_with('=');
    });
    if (!replaced) result.emplace_back(text);
  }
  for (const auto& [name, value] : variables)
    if (!value.empty()) result.push_back(name + "=" + value);
  return result;
}

std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// What the child does; nothing but system calls, since it shares the parent's state.
[[noreturn]] void become(char* const* argv, char* const* environment, int out, int err, const cpu_set_t& bound,
                         pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // it died in between
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);  // the launcher blocks the signals that it waits for
  if (CPU_COUNT(&bound) > 0) sched_setaffinity(0, sizeof bound, &bound);
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  if (err >= 0) dup2(err, STDERR_FILENO);
  execve(argv[0], argv, environment);
  _exit(127);
}

}  // namespace

RankProcess::RankProcess(int rank, const std::vector<std::string>& command, const Variables& variables,
                         const std::vector<int>& processors, const std::string& prefix, bool own_stderr)
    : rank_(rank) {
  cpu_set_t bound;
  CPU_ZERO(&bound);
  for (const int processor : processors) CPU_SET(processor, &bound);
  const std::vector<std::string> environment = environment_with(variables);
  const std::vector<char*> argv = pointers_to(command), envp = pointers_to(environment);
  int ends[2][2] = {{-1, -1}, {-1, -1}};  // of the pipes: read, write
  const int pipes = own_stderr ? 1 : 2;
  bool made = true;
  for (int i = 0; i < pipes; ++i) made = made && pipe2(ends[i], O_CLOEXEC) == 0;
  const pid_t parent = getpid();
  if (made) pid_ = fork();
  if (pid_ == 0) become(argv.data(), envp.data(), ends[0][1], ends[1][1], bound, parent);
  const std::string reason = std::strerror(errno);
  for (int i = 0; i < pipes; ++i) {
    if (ends[i][1] >= 0) close(ends[i][1]);
    if (pid_ < 0 && ends[i][0] >= 0) close(ends[i][0]);
  }
  if (pid_ < 0) fail("cannot start rank ", rank, ": ", reason);
  for (int i = 0; i < pipes; ++i) {
    fcntl(ends[i][0], F_SETFL, O_NONBLOCK);
    streams_.push_back({ends[i][0], LineForwarder(i == 0 ? STDOUT_FILENO : STDERR_FILENO, prefix)});
  }
}

RankProcess::~RankProcess() {
  for (const Stream& stream : streams_)
    if (stream.fd >= 0) close(stream.fd);
}

void RankProcess::signal(int number) const {
  if (running()) kill(pid_, number);
}

bool RankProcess::reap() {
  int status = 0;
  if (!running() || waitpid(pid_, &status, WNOHANG) != pid_) return false;
  pid_ = -1;
  if (WIFEXITED(status)) exit_code_ = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) killed_by_ = WTERMSIG(status);
  forward();
  for (Stream& stream : streams_) {  // a process that it started may hold the pipe open: nobody waits for that one
    stream.lines.finish();
    if (stream.fd >= 0) close(std::exchange(stream.fd, -1));
  }
  return true;
}

std::string RankProcess::how_it_ended() const {
  if (killed_by_ == 0) return cat("exit code ", exit_code_);
  const char* name = sigabbrev_np(killed_by_);
  return name == nullptr ? cat("killed by signal ", killed_by_) : cat("killed by SIG", name);
}

std::vector<std::string> RankProcess::last_words() const {
  if (streams_.size() < 2) return {};
  const std::deque<std::string>& lines = streams_.back().lines.last_lines();
  const auto error =
      std::find_if(lines.rbegin(), lines.rend(), [](const std::string& line) { return line.starts_with(kError); });
  if (error != lines.rend()) return {*error};
  return {lines.begin(), lines.end()};
}

std::vector<int> RankProcess::open_pipes() const {
  std::vector<int> open;
  for (const Stream& stream : streams_)
    if (stream.fd >= 0) open.push_back(stream.fd);
  return open;
}

void RankProcess::forward() {
  for (Stream& stream : streams_) forward(stream);
}

void RankProcess::forward(Stream& stream) {
  char block[1 << 16];
  while (stream.fd >= 0) {
    const ssize_t count = read(stream.fd, block, sizeof block);
    if (count > 0) {
      stream.lines.take({block, static_cast<std::size_t>(count)});
    } else if (count < 0 && errno == EINTR) {
      continue;
    } else if (count < 0 && errno == EAGAIN) {
      return;
    } else {  // its end is closed
      close(std::exchange(stream.fd, -1));
    }
  }
}

}  // namespace ttt
