// A limit of time for calls that have none of their own, such as one to a store whose process is stopped.
#pragma once

#include <algorithm>
#include <chrono>
#include <future>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

#include "base/timer.h"

namespace ttt {

// What `function` returns or throws. It runs in a thread of its own; when it is not through in time, that thread is
// left behind, and there is no value. So it must own whatever it uses. Meanwhile say() is called, every so many
// seconds.
template <class Function, class Say>
std::optional<std::invoke_result_t<Function>> within(double seconds, Function function, double every, Say say) {
  std::packaged_task<std::invoke_result_t<Function>()> task(std::move(function));
  auto result = task.get_future();
  std::thread(std::move(task)).detach();
  const Timer timer;
  while (true) {
    const double left = std::max(0.0, seconds - timer.seconds());
    if (result.wait_for(std::chrono::duration<double>(std::min(left, every))) == std::future_status::ready) break;
    if (timer.seconds() >= seconds) return std::nullopt;
    say();
  }
  return result.get();
}

template <class Function>
auto within(double seconds, Function function) {
  return within(seconds, std::move(function), seconds + 1, [] {});
}

}  // namespace ttt
