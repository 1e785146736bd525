#include "checkpoint/background_save.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace ttt {
namespace {

constexpr int kNice = 10;  // the training's threads come first where cores are few

}  // namespace

BackgroundSave::~BackgroundSave() {
  try {
    wait();
  } catch (const std::exception& error) {
    log_warn(error.what());
  }
}

void BackgroundSave::start(std::function<void()> job) {
  TTT_CHECK(!pending_.valid(), "a save is under way");
  pending_ = std::async(std::launch::async, [job = std::move(job)] {
    setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);  // of this thread alone
    job();
  });
}

void BackgroundSave::wait() {
  if (pending_.valid()) std::exchange(pending_, {}).get();
}

void BackgroundSave::check() {
  if (pending_.valid() && pending_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) wait();
}

}  // namespace ttt
