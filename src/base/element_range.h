// A part of a tensor's elements.
#pragma once

#include <cstdint>

namespace ttt {

// Elements [first, last) of a tensor, flattened; first == last: none.
struct ElementRange {
  std::int64_t first = 0, last = 0;
};

}  // namespace ttt
