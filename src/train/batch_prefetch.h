// Reads the next step's batch while the present one is computed.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <vector>

#include "data/dataset.h"

namespace ttt {

class BatchPrefetch {
 public:
  // read: the batch of some places in the order of samples; called on another thread, one call at a time.
  // pin: into memory that a GPU copies from by itself.
  using Read = std::function<Batch(const std::vector<std::int64_t>& positions)>;
  BatchPrefetch(Read read, bool pin) : read_(std::move(read)), pin_(pin) {}
  ~BatchPrefetch() { forget(); }
  BatchPrefetch(const BatchPrefetch&) = delete;
  BatchPrefetch& operator=(const BatchPrefetch&) = delete;

  // The batch of these places: the one read ahead where it is that, or it is read now. Throws what read() throws.
  Batch take(const std::vector<std::int64_t>& positions);
  // Starts to read.
  void start(std::vector<std::int64_t> positions);

 private:
  Batch read_now(const std::vector<std::int64_t>& positions) const;
  void forget();

  Read read_;
  bool pin_;
  std::vector<std::int64_t> ahead_;
  std::future<Batch> batch_;
};

}  // namespace ttt
