// Values by key between the ranks, over the job's store.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <utility>

#include "base/key_value_exchange.h"
#include "dist/meeting.h"

namespace ttt {

// A call to the store takes for ever while rank 0 has its connections open but answers none of them (a stopped
// process). So each runs in a thread of its own, which is left behind when nobody waits for it any more.
class StoreExchange : public KeyValueExchange {
 public:
  // `store`: a connection of its own.
  explicit StoreExchange(Store store) : store_(std::move(store)) {}
  void post(const std::string& key, const std::string& value) override;
  std::string wait(const std::string& key) override;
  void forget(const std::string& key) override;
  void close() override { closed_ = true; }

 private:
  using Call = std::function<std::string(c10d::Store&, const std::atomic<bool>& given_up)>;
  std::string call(const std::string& key, Call function);

  Store store_;
  std::atomic<bool> closed_ = false;
};

}  // namespace ttt
