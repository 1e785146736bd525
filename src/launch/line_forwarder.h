// One output stream of a rank on its way to the launcher's own.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

namespace ttt {

// Passes bytes on as whole lines, each with a prefix and in one write, so that the lines of several ranks do not mix;
// and remembers the last ones.
class LineForwarder {
 public:
  // target: a file descriptor, not owned.
  LineForwarder(int target, std::string prefix);

  void take(std::string_view bytes);
  void finish();  // the last line may lack its end

  const std::deque<std::string>& last_lines() const { return last_lines_; }

 private:
  void pass_on(std::string_view line);

  int target_;
  std::string prefix_;
  std::string open_line_;
  std::deque<std::string> last_lines_;
};

}  // namespace ttt
