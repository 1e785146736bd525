// What bounds an op, measured in the same run: a large product or a large copy.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace ttt {

enum class Bound { kProducts, kMemory };

// What plain products, those of naive ops as well, of a model in `dtype` are fastest in: fp32 for bf16 on a CPU where
// products go through fp32 panels (ops/products.h), else itself.
at::ScalarType multiplied_type(at::ScalarType dtype, at::Device device);

class Yardstick {
 public:
  // kProducts: an at::mm of square matrices of multiplied_type(dtype). kMemory: a copy. Both large for the device; on a
  // slow one the product is so large that it takes some twentieths of a second.
  explicit Yardstick(Bound bound, at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU);
  // Once: 1e9 floating-point operations, or bytes read and written, a second.
  double run();
  std::string text() const;  // "an at::mm of 2048 x 2048 x 2048"

 private:
  Bound bound_;
  at::Tensor a_, b_, c_;
};

}  // namespace ttt
