// How processes (or threads) that work on one thing tell one another small values.
#pragma once

#include <string>

namespace ttt {

// Values by key, between any ranks and threads. A key is posted once.
class KeyValueExchange {
 public:
  virtual ~KeyValueExchange() = default;
  virtual void post(const std::string& key, const std::string& value) = 0;
  // Waits until some rank has posted it, at most for the exchange's timeout. Throws Error.
  virtual std::string wait(const std::string& key) = 0;
  // Frees what a key holds, once every rank that waits for it has it. Throws Error.
  virtual void forget(const std::string& key) = 0;
  // This rank is about to end: its waits, on whatever thread, end within some seconds, with an Error.
  virtual void close() = 0;
};

}  // namespace ttt
