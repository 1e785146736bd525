// Ends a run that makes no progress (a file system that hangs, a device that no longer answers, a rank that waits for
// one that is gone), saying where it is stuck, so that whoever supervises the job can start it again.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace ttt {

class Watchdog {
 public:
  // limit: seconds between two calls of enter(); 0: there is none. A run that was stopped as a whole (SIGSTOP, a
  // suspended machine) is given its time again: only seconds in which this process ran are counted.
  // on_stuck gets the sentence, on the watchdog's thread; by default it is printed and the process ends with exit code
  // 1 at once, without waiting for what hangs.
  Watchdog(double limit, int rank, std::function<void(const std::string&)> on_stuck = end_process);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // The run goes on to something else. doing: "the backward pass", a literal.
  void enter(std::int64_t step, const char* doing);

 private:
  [[noreturn]] static void end_process(const std::string& sentence);
  void watch();

  const double limit_;
  const int rank_;
  const std::function<void(const std::string&)> on_stuck_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::int64_t step_ = 0;
  const char* doing_ = "the start";
  double seconds_ = 0;  // since enter()
  bool end_ = false;
  std::thread thread_;
};

}  // namespace ttt
