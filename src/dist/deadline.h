// A limit of time for calls that have none of their own, such as one to a store whose process is stopped.
#pragma once

#include <chrono>
#include <future>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

namespace ttt {

// What `function` returns or throws. It runs in a thread of its own; when it is not through in time, that thread is
// left behind, and there is no value. So it must own whatever it uses.
template <class Function>
std::optional<std::invoke_result_t<Function>> within(double seconds, Function function) {
  std::packaged_task<std::invoke_result_t<Function>()> task(std::move(function));
  auto result = task.get_future();
  std::thread(std::move(task)).detach();
  if (result.wait_for(std::chrono::duration<double>(seconds)) != std::future_status::ready) return std::nullopt;
  return result.get();
}

}  // namespace ttt
