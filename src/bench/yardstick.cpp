#include "bench/yardstick.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "bench/device_memory.h"
#include "ops/products.h"

namespace ttt {
namespace {

constexpr double kLongEnough = 0.05;  // seconds of a product

struct Extent {
  std::int64_t side, copied;  // rows and columns; fp32 values
};
Extent extent_on(at::Device device) {
  return device.is_cuda() ? Extent{8192, std::int64_t{1} << 28} : Extent{2048, std::int64_t{1} << 26};
}

}  // namespace

at::ScalarType multiplied_type(at::ScalarType dtype, at::Device device) {
  const bool widened = dtype == at::kBFloat16 && device.is_cpu() && bf16_products() == Bf16Products::kFp32Panels;
  return widened ? at::kFloat : dtype;
}

Yardstick::Yardstick(Bound bound, at::ScalarType dtype, at::Device device) : bound_(bound) {
  const auto [side, copied] = extent_on(device);
  const at::TensorOptions options(device);
  if (bound == Bound::kProducts) {
    const at::ScalarType type = multiplied_type(dtype, device);
    double seconds = 0;
    for (std::int64_t n = device.is_cuda() ? side : side / 8; n <= side && seconds < kLongEnough; n *= 2) {
      a_ = at::randn({n, n}, options).to(type);
      b_ = at::randn({n, n}, options).to(type);
      c_ = at::empty({n, n}, options.dtype(type));
      if (n == side) break;
      at::mm_out(c_, a_, b_);  // warms up
      const DeviceTimer timer(device);
      at::mm_out(c_, a_, b_);
      seconds = timer.seconds();
    }
  } else {
    a_ = at::ones({copied}, options);
    c_ = at::zeros({copied}, options);
  }
}

double Yardstick::run() {
  const DeviceTimer timer(a_.device());
  if (bound_ == Bound::kProducts) {
    at::mm_out(c_, a_, b_);
    const auto side = static_cast<double>(a_.size(0));
    return 2 * side * side * side / timer.seconds() / 1e9;
  }
  c_.copy_(a_);
  return 2 * static_cast<double>(a_.nbytes()) / timer.seconds() / 1e9;
}

std::string Yardstick::text() const {
  if (bound_ == Bound::kProducts)
    return cat("an at::mm of ", a_.size(0), " x ", a_.size(0), " x ", a_.size(0), " in ",
               a_.scalar_type() == at::kBFloat16 ? "bf16" : "fp32");
  return cat("a copy of ", a_.nbytes() >> 20, " MiB, read and written (what fits the caches can be faster)");
}

}  // namespace ttt
