#include "launch/line_forwarder.h"

#include <unistd.h>

#include <cerrno>
#include <iostream>

#include "base/log.h"

namespace ttt {
namespace {

constexpr std::size_t kLinesKept = 12;
constexpr std::size_t kLongestLine = 64 << 10;  // a longer one is passed on in pieces

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {  // the ranks go on
      // Where nobody reads any more nothing is missed. Else it is as if this program had lost it, which its end
      // reports.
      if (fd == STDOUT_FILENO && errno != EPIPE) std::cout.setstate(std::ios::badbit);
      return;
    }
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

}  // namespace

LineForwarder::LineForwarder(int target, std::string prefix) : target_(target), prefix_(std::move(prefix)) {
  // The first rank may have drawn its progress line where this one is going to stand; it draws it again.
  if (target == STDERR_FILENO && stderr_is_terminal()) prefix_ = "\r\033[K" + prefix_;
}

void LineForwarder::take(std::string_view bytes) {
  open_line_ += bytes;
  std::size_t begin = 0;
  for (std::size_t end; (end = open_line_.find('\n', begin)) != std::string::npos; begin = end + 1)
    pass_on(std::string_view(open_line_).substr(begin, end - begin));
  open_line_.erase(0, begin);
  if (open_line_.size() > kLongestLine) finish();
}

void LineForwarder::finish() {
  if (!open_line_.empty()) pass_on(open_line_);
  open_line_.clear();
}

void LineForwarder::pass_on(std::string_view line) {
  std::string text = prefix_;
  text += line;
  text += '\n';
  write_all(target_, text);
  last_lines_.emplace_back(line);
  if (last_lines_.size() > kLinesKept) last_lines_.pop_front();
}

}  // namespace ttt
