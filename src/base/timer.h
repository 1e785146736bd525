// Wall-clock intervals.
#pragma once

#include <algorithm>
#include <chrono>

namespace ttt {

class Timer {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  void restart() { start_ = std::chrono::steady_clock::now(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Seconds in which another process was watched. A look that comes far later than it was to come finds that this process
// was stopped (Ctrl-Z, a suspended job, a frozen container), and most likely the other one with it: no time for it to
// answer.
class WatchedTime {
 public:
  // Until now; to be asked at each look, several times a second.
  double look() {
    constexpr double kLongestLook = 1;  // counts at most
    watched_ += std::min(since_look_.seconds(), kLongestLook);
    since_look_.restart();
    return watched_;
  }

 private:
  Timer since_look_;
  double watched_ = 0;
};

}  // namespace ttt
