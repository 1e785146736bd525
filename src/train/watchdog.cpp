#include "train/watchdog.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "base/error.h"
#include "base/log.h"

namespace ttt {

Watchdog::Watchdog(double limit, int rank, std::function<void(const std::string&)> on_stuck)
    : limit_(limit), rank_(rank), on_stuck_(std::move(on_stuck)) {
  if (limit_ > 0) thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    end_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Watchdog::enter(std::int64_t step, const char* doing) {
  const std::lock_guard<std::mutex> lock(mutex_);
  step_ = step;
  doing_ = doing;
  seconds_ = 0;
}

void Watchdog::watch() {
  const double tick = std::min(limit_ / 10, 5.0);
  std::unique_lock<std::mutex> lock(mutex_);
  while (!end_) {
    // However late it wakes up, a tick counts as one.
    if (wake_.wait_for(lock, std::chrono::duration<double>(tick), [this] { return end_; })) return;
    seconds_ += tick;
    if (seconds_ < limit_) continue;
    const std::string sentence =
        cat("rank ", rank_, " has been at step ", step_, " in ", doing_, " for ", static_cast<std::int64_t>(limit_),
            " s and ends here (train.watchdog_seconds); the same command goes on from the newest checkpoint");
    lock.unlock();
    on_stuck_(sentence);
    return;
  }
}

void Watchdog::end_process(const std::string& sentence) {
  log_error(sentence);
  std::_Exit(1);
}

}  // namespace ttt
