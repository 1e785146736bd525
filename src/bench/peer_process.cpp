#include "bench/peer_process.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/process.h"
#include "base/timer.h"

namespace ttt {
namespace {

constexpr int kPeerLook = 100;               // milliseconds between two looks at whether it still lives
constexpr std::size_t kPeerLineShown = 200;  // characters of a line that was not understood
constexpr double kPeerEndSeconds = 2;        // after its stdin is closed, and again after SIGTERM
constexpr double kPeerKilledSeconds = 5;     // after SIGKILL

bool can_be_run(const fs::path& file) {
  std::error_code unknown;
  return fs::is_regular_file(file, unknown) && access(file.c_str(), X_OK) == 0;
}

}  // namespace

fs::path find_program(const std::string& option, const std::string& name) {
  if (name.find('/') != std::string::npos) {
    if (can_be_run(name)) return name;
  } else if (const char* folders = std::getenv("PATH"); folders != nullptr && !name.empty()) {
    std::istringstream list(folders);
    for (std::string folder; std::getline(list, folder, ':');)
      if (const fs::path file = fs::path(folder.empty() ? "." : folder) / name; can_be_run(file)) return file;
  }
  user_error("there is no program '", name, "' for ", option, "; name one by its path, or as PATH has it");
}

PeerProcess::PeerProcess(const fs::path& program, const std::vector<std::string>& arguments, double patience)
    : program_(program), patience_(patience) {
  std::vector<char*> argv = {const_cast<char*>(program_.c_str())};
  for (const std::string& word : arguments) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  int ends[2] = {-1, -1};
  words_ = memfd_create("peer", MFD_CLOEXEC);
  const pid_t parent = getpid();
  if (words_ >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0) pid_ = fork();
  if (pid_ == 0) {  // nothing but system calls from here to exec
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(1);  // it died in between
    dup2(ends[1], STDIN_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    dup2(words_, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  const std::string reason = std::strerror(errno);
  if (ends[1] >= 0) close(ends[1]);
  socket_ = ends[0];
  if (pid_ > 0) return;
  if (socket_ >= 0) close(socket_);
  if (words_ >= 0) close(words_);
  fail("cannot start '", program_.string(), "': ", reason);
}

PeerProcess::~PeerProcess() {
  close(socket_);
  if (!ends_within(kPeerEndSeconds)) {
    kill(pid_, SIGTERM);
    if (!ends_within(kPeerEndSeconds)) {
      kill(pid_, SIGKILL);
      ends_within(kPeerKilledSeconds);
    }
  }
  close(words_);
}

bool PeerProcess::has_ended() {
  if (!ended_) {
    const pid_t which = waitpid(pid_, &status_, WNOHANG);
    if (which < 0) status_ = 0;  // nobody keeps it for us
    ended_ = which != 0;
  }
  return ended_;
}

bool PeerProcess::ends_within(double seconds) {
  for (const Timer timer; !has_ended();) {
    if (timer.seconds() > seconds) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

void PeerProcess::ask(const std::string& line) {
  const std::string text = line + "\n";
  // One that is dead is found by the answer that does not come.
  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t count = send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    sent += static_cast<std::size_t>(count);
  }
}

Json PeerProcess::answer(const std::string& doing) {
  const std::string line = next_line(doing);
  Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    fail("the peer, '", program_.string(), "', was ", doing, " and said '", line.substr(0, kPeerLineShown),
         "', which is no JSON object");
  return json;
}

std::string PeerProcess::next_line(const std::string& doing) {
  WatchedTime watched;
  for (;;) {
    if (const std::size_t end = unread_.find('\n'); end != std::string::npos) {
      const std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return line;
    }
    if (watched.look() > patience_)
      fail("the peer, '", program_.string(), "', was ", doing, " and gave no answer in ", patience_,
           " s; take fewer tokens or steps, or give it longer with --peer-seconds");
    const bool ended = has_ended();  // before the look, so that nothing it said is missed
    pollfd wanted{socket_, POLLIN, 0};
    const int ready = poll(&wanted, 1, ended ? 0 : kPeerLook);
    if (ready == 0 && ended) fail_as_dead(doing);
    if (ready <= 0) continue;
    char block[4096];
    const ssize_t count = recv(socket_, block, sizeof block, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail_as_dead(doing);
    unread_.append(block, static_cast<std::size_t>(count));
  }
}

void PeerProcess::fail_as_dead(const std::string& doing) {
  if (!ends_within(kPeerEndSeconds))
    fail("the peer, '", program_.string(), "', was ", doing, " and closed its standard output");
  const fs::path said = cat("/proc/self/fd/", words_);
  if (WIFSIGNALED(status_)) {
    fail("the peer, '", program_.string(), "', was ", doing, " and died (signal ", WTERMSIG(status_), ", ",
         strsignal(WTERMSIG(status_)), ")", read_file(said).empty() ? "" : ": " + last_words(said, 0));
  }
  const int code = WEXITSTATUS(status_);
  fail("the peer, '", program_.string(), "', was ", doing, " and died (exit code ", code,
       "): ", last_words(said, code));
}

}  // namespace ttt
