// bf16 as it lies in memory: the upper half of a float. The kernels read it as float and round to nearest even when
// they write it.
#pragma once

#include <cstdint>

namespace ttt::kernels {

struct BFloat16 {
  std::uint16_t bits;
};

}  // namespace ttt::kernels
