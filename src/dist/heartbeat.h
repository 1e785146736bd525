// How the ranks of a job notice that one of them is gone without a word: its machine is down, or cut off, or it was
// stopped. (A process that ends closes its connections, which Gloo notices, and NCCL does not.)
//
// Every second each rank counts on in the store, "RANK" = 1, 2, ..., and reads the others' counts. One that stands still
// is silent. "over" is said by a rank that ends in order.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "dist/meeting.h"
#include "dist/world.h"

namespace ttt {

class Heartbeat {
 public:
  // Says its first count; watches nobody yet. `store`: a connection of its own. `on_silence`: called once, from a thread
  // of its own, when a rank has been silent for that long; time in which this process itself was stopped does not count.
  Heartbeat(Store store, const World& world, std::chrono::seconds silence, std::function<void()> on_silence);
  ~Heartbeat();  // says "over"; waits a second at most
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // From then on, when every rank has said its first count.
  void watch();

  bool found_silence() const;
  std::string silence_text() const;  // "rank 2 has not been heard of for 15 s"

 private:
  struct Shared;  // with a thread that may be left behind in a call to the store
  std::shared_ptr<Shared> shared_;
  std::function<void()> on_silence_;
  std::thread watcher_;
};

}  // namespace ttt
