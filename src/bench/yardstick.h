// What bounds an op, measured in the same run: a large product or a large copy.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace ttt {

enum class Bound { kProducts, kMemory };

class Yardstick {
 public:
  // kProducts: an at::mm of three 2048 x 2048 matrices of `dtype`. kMemory: a copy of 256 MiB.
  explicit Yardstick(Bound bound, at::ScalarType dtype = at::kFloat);
  // Once: 1e9 floating-point operations, or bytes read and written, a second.
  double run();

 private:
  Bound bound_;
  at::Tensor a_, b_, c_;
};

}  // namespace ttt
