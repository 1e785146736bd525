// One save at a time beside the training.
#pragma once

#include <functional>
#include <future>

namespace ttt {

// The job of a save gets all that it needs by value: nothing that the training goes on changing. A job that fails
// throws where the training next asks.
class BackgroundSave {
 public:
  BackgroundSave() = default;
  ~BackgroundSave();  // waits; a failure that nobody asked for becomes a warning
  BackgroundSave(const BackgroundSave&) = delete;
  BackgroundSave& operator=(const BackgroundSave&) = delete;

  // Runs the job on a thread of low priority. There must be none under way: wait() first, before the memory for this
  // one is taken.
  void start(std::function<void()> job);
  void wait();   // until the job is done; throws what it threw
  void check();  // throws what the job threw if it has ended, without waiting

 private:
  std::future<void> pending_;
};

}  // namespace ttt
