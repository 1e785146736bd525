// What bounds an op, measured in the same run: a large product or a large copy.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace ttt {

enum class Bound { kProducts, kMemory };

class Yardstick {
 public:
  // kProducts: an at::mm of square matrices of `dtype`. kMemory: a copy. Both large for the device.
  explicit Yardstick(Bound bound, at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU);
  // Once: 1e9 floating-point operations, or bytes read and written, a second.
  double run();
  std::string text() const;  // "an at::mm of 2048 x 2048 x 2048"

 private:
  Bound bound_;
  at::Tensor a_, b_, c_;
};

}  // namespace ttt
