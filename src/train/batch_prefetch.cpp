#include "train/batch_prefetch.h"

#include <ATen/ATen.h>

#include <utility>

namespace ttt {

Batch BatchPrefetch::read_now(const std::vector<std::int64_t>& positions) const {
  const Batch batch = read_(positions);
  return pin_ ? Batch{batch.inputs_BT.pin_memory(), batch.targets_BT.pin_memory(), batch.scored_BT} : batch;
}

Batch BatchPrefetch::take(const std::vector<std::int64_t>& positions) {
  if (batch_.valid() && ahead_ == positions) return batch_.get();
  forget();
  return read_now(positions);
}

void BatchPrefetch::start(std::vector<std::int64_t> positions) {
  forget();
  ahead_ = std::move(positions);
  batch_ = std::async(std::launch::async, [this, places = ahead_] { return read_now(places); });
}

// An error of a batch that nobody takes is nobody's.
void BatchPrefetch::forget() {
  if (!batch_.valid()) return;
  batch_.wait();
  batch_ = {};
}

}  // namespace ttt
