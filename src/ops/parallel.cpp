#include "ops/parallel.h"

#include <ATen/Parallel.h>

#include <algorithm>

namespace ttt {

void parallel_ranges(std::int64_t size, std::int64_t grain,
                     const std::function<void(std::int64_t, std::int64_t)>& body) {
  at::parallel_for(0, size, grain, body);
}

std::int64_t range_count(std::int64_t size, std::int64_t grain) {
  const std::int64_t ranges = (size + grain - 1) / grain;
  return std::max<std::int64_t>(1, std::min<std::int64_t>(ranges, at::get_num_threads()));
}

void parallel_numbered_ranges(std::int64_t size, std::int64_t count,
                              const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& body) {
  const std::int64_t length = (size + count - 1) / count;
  at::parallel_for(0, count, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) body(i, std::min(size, i * length), std::min(size, (i + 1) * length));
  });
}

}  // namespace ttt
