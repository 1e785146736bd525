#include "model/self_check_child.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/process.h"
#include "base/timer.h"

namespace ttt {
namespace {

constexpr std::size_t kLongestLine = 1 << 20;
constexpr double kKilledSeconds = 5;  // a process that a driver holds may take longer to die, and is left

// Memory that a process writes to and this one reads.
class WordsInMemory {
 public:
  WordsInMemory() : fd_(memfd_create("self_check", MFD_CLOEXEC)) {
    if (fd_ < 0) fail("no memory file: ", std::strerror(errno));
  }
  ~WordsInMemory() { close(fd_); }
  WordsInMemory(const WordsInMemory&) = delete;
  WordsInMemory& operator=(const WordsInMemory&) = delete;

  fs::path path() const { return cat("/proc/self/fd/", fd_); }
  void read_new(SelfCheckReader& reader) {
    char piece[4096];
    for (ssize_t n = 0; (n = pread(fd_, piece, sizeof piece, at_)) > 0; at_ += n)
      reader.read({piece, static_cast<std::size_t>(n)});
  }

 private:
  int fd_;
  off_t at_ = 0;
};

// How many times as long as the limits say a child's checks may take.
double slowness(const SelfCheckReader& reader, const SelfCheckLimits& limits) {
  return reader.compiles() ? limits.compile : 1;
}

struct ChildEnd {
  enum { kEnded, kSilent, kOutOfTime } how = kEnded;
  int status = 0;          // as waitpid() gives it
  double checked = 0;      // seconds since it was ready
  std::string last_words;  // of one that ended
};

// Whether the child has ended; `status` is then its own.
bool has_ended(pid_t pid, int& status) {
  const pid_t ended = waitpid(pid, &status, WNOHANG);
  if (ended < 0) status = 0;  // nobody keeps it for us
  return ended != 0;
}

void end_child(pid_t pid) {
  kill(pid, SIGKILL);
  const Timer timer;
  for (int status = 0; !has_ended(pid, status) && timer.seconds() < kKilledSeconds;)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

ChildEnd follow_child(const std::vector<std::string>& command, SelfCheckReader& reader, const SelfCheckLimits& limits,
                      double checked_before) {
  WordsInMemory words;
  ChildEnd end;
  reader.begin_child();
  const pid_t pid = start_process(command, words.path(), SIGKILL);
  WatchedTime watched;
  std::optional<double> ready_at;
  double word_at = 0;
  for (;;) {
    const double now = watched.look();
    const bool ended = has_ended(pid, end.status);
    const std::size_t heard = reader.words();
    words.read_new(reader);
    const bool word = reader.words() != heard;
    if (word) word_at = now;
    if (reader.ready() && !ready_at) ready_at = now;
    const double longer = slowness(reader, limits), silent = now - word_at;
    end.checked = ready_at ? now - *ready_at : 0;
    if (ended) break;
    if (!ready_at ? now > limits.start : silent > longer * limits.silence) {
      end.how = ChildEnd::kSilent;
      end.checked = std::max(end.checked - silent, 0.0);
      end_child(pid);
      return end;
    }
    if (word && !reader.done() && checked_before + end.checked > longer * limits.total) {
      end.how = ChildEnd::kOutOfTime;
      end_child(pid);
      return end;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  end.last_words = ttt::last_words(words.path(), WIFEXITED(end.status) ? WEXITSTATUS(end.status) : 0);
  return end;
}

// Signals by which a program ends itself; others come from outside.
bool is_own_fault(int signal) {
  constexpr int kOwn[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
  return std::find(std::begin(kOwn), std::end(kOwn), signal) != std::end(kOwn);
}

// What of the row that is open is known from the child's end; "" where it is not the row's fault.
std::string failure_of(const ChildEnd& end, const std::string& check, double silence) {
  if (end.how == ChildEnd::kSilent) return cat("hung: no answer in ", silence, " s (", check, ")");
  if (end.how == ChildEnd::kOutOfTime) return "";
  if (WIFSIGNALED(end.status)) {
    const int signal = WTERMSIG(end.status);
    return is_own_fault(signal) ? cat("crashed: signal ", signal, ", ", strsignal(signal), " (", check, ")") : "";
  }
  return cat("ended its process: exit code ", WEXITSTATUS(end.status), " (", check, ")");
}

// Why the rest could not be checked, where no row is to blame.
std::string explained(const ChildEnd& end, const SelfCheckReader& reader, const SelfCheckLimits& limits) {
  if (end.how == ChildEnd::kOutOfTime) return cat("its ", slowness(reader, limits) * limits.total, " s were over");
  if (end.how == ChildEnd::kSilent)
    return reader.ready() ? cat("its process fell silent") : cat("its process was not ready in ", limits.start, " s");
  if (WIFSIGNALED(end.status)) return cat("its process was ended by signal ", WTERMSIG(end.status));
  return cat("its process ended early: ", end.last_words);
}

}  // namespace

void SelfCheckReader::begin_child() {
  partial_.clear();
  ready_ = done_ = false;
  open_.reset();
}

void SelfCheckReader::read(std::string_view piece) {
  while (!piece.empty()) {
    const std::size_t end = piece.find('\n');
    partial_ += piece.substr(0, end);
    if (end == std::string_view::npos) break;
    piece.remove_prefix(end + 1);
    line(partial_);
    partial_.clear();
  }
  if (partial_.size() > kLongestLine) partial_.clear();
}

void SelfCheckReader::line(std::string_view text) {
  if (text.empty() || text.front() != '{') return;
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  try {
    const std::string what = json.at("self_check").get<std::string>();
    if (what == "rows") {
      const auto names = json.at("rows").get<std::vector<std::string>>();
      compiles_ = json.at("compiles").get<bool>();
      if (rows_.empty())
        for (const std::string& name : names) rows_.push_back({name, RowState::kUnchecked, ""});
      ready_ = true;
    } else if (!ready_) {
      return;
    } else if (what == "done") {
      done_ = next_ == rows_.size();
    } else {
      if (json.at("row").get<std::size_t>() != next_ || next_ >= rows_.size()) return;  // they come in their order
      if (what == "begin") {
        open_ = Open{next_, json.at("check").get<std::string>()};
      } else if (what == "row") {
        const std::optional<RowState> state = row_state_of(json.at("state").get<std::string>());
        if (!state) return;
        close(*state, json.at("text").get<std::string>());
      }
    }
    ++words_;
  } catch (const Json::exception&) {
  }  // some other line in braces
}

void SelfCheckReader::close(RowState state, const std::string& text) {
  rows_.at(next_).state = state;
  rows_.at(next_).text = text;
  ++next_;
  open_.reset();
}

void SelfCheckReader::close_all(RowState state, const std::string& text) {
  while (next_ < rows_.size()) close(state, text);
}

SelfCheckVerdict check_in_children(const fs::path& program, const std::string& device, const SelfCheckLimits& limits) {
  const Timer timer;
  SelfCheckReader reader;
  SelfCheckVerdict verdict;
  double checked = 0;
  int lost = 0;
  while (!reader.done()) {
    const std::size_t first = reader.next();
    const ChildEnd end = follow_child({program.string(), "self-check", "--device", device, "--from", cat(first)},
                                      reader, limits, checked);
    checked += end.checked;
    if (reader.done()) break;
    const double silence = slowness(reader, limits) * limits.silence;
    const std::string failure = reader.open() ? failure_of(end, reader.open()->check, silence) : "";
    if (!failure.empty()) {
      reader.close(RowState::kFails, failure);
      if (++lost == limits.lost)
        reader.close_all(RowState::kFails, cat("was not tried behind ", lost, " rows that took their process down"));
    } else if (end.how != ChildEnd::kEnded || end.status != 0 || reader.next() == first) {
      verdict.incomplete = explained(end, reader, limits);
      reader.close_all(RowState::kUnchecked, verdict.incomplete);
    }
    if (reader.next() == reader.rows().size()) break;  // nothing is left for another one
  }
  verdict.rows = reader.rows();
  verdict.seconds = timer.seconds();
  return verdict;
}

}  // namespace ttt
