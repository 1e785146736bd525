#include "dist/store_exchange.h"

#include <chrono>
#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/timer.h"

namespace ttt {
namespace {

constexpr double kClosingSeconds = 10;  // for a save that is nearly through
constexpr auto kBetweenCalls = std::chrono::milliseconds(10);

}  // namespace

void StoreExchange::post(const std::string& key, const std::string& value) {
  call(key, [key, value](c10d::Store& store, const std::atomic<bool>&) {
    store.set(key, std::vector<std::uint8_t>(value.begin(), value.end()));
    return std::string();
  });
}

std::string StoreExchange::wait(const std::string& key) {
  return call(key, [key](c10d::Store& store, const std::atomic<bool>& given_up) {
    while (!store.check({key})) {  // the store's own wait could not be ended from outside
      if (given_up) return std::string();
      std::this_thread::sleep_for(kBetweenCalls);
    }
    const std::vector<std::uint8_t> bytes = store.get(key);
    return std::string(bytes.begin(), bytes.end());
  });
}

void StoreExchange::forget(const std::string& key) {
  call(key, [key](c10d::Store& store, const std::atomic<bool>&) {
    store.deleteKey(key);
    return std::string();
  });
}

std::string StoreExchange::call(const std::string& key, Call function) {
  const auto given_up = std::make_shared<std::atomic<bool>>(false);
  std::promise<std::string> promise;
  std::future<std::string> result = promise.get_future();
  std::thread([store = store_, function = std::move(function), given_up, promise = std::move(promise)]() mutable {
    try {
      promise.set_value(function(*store, *given_up));
    } catch (...) {
      promise.set_exception(std::current_exception());
    }
  }).detach();
  const Timer since_start;
  std::optional<Timer> since_close;
  const double timeout = std::chrono::duration<double>(store_->getTimeout()).count();
  while (result.wait_for(kBetweenCalls) != std::future_status::ready) {
    if (closed_ && !since_close) since_close.emplace();
    const bool ends = since_close && since_close->seconds() > kClosingSeconds;
    if (!ends && since_start.seconds() <= timeout) continue;
    *given_up = true;
    fail("exchanging '", key,
         "' between ranks failed: ", ends ? "this rank ends" : cat("no answer in ", timeout, " s"));
  }
  try {
    return result.get();
  } catch (const std::exception& error) {
    fail("exchanging '", key, "' between ranks failed: ", first_line(error.what()));
  }
}

}  // namespace ttt
