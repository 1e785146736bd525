#include "bench/yardstick.h"

#include <ATen/ATen.h>

#include "base/timer.h"

namespace ttt {
namespace {

constexpr std::int64_t kSide = 2048, kCopied = std::int64_t{1} << 26;

}  // namespace

Yardstick::Yardstick(Bound bound, at::ScalarType dtype) : bound_(bound) {
  if (bound == Bound::kProducts) {
    a_ = at::randn({kSide, kSide}).to(dtype);
    b_ = at::randn({kSide, kSide}).to(dtype);
    c_ = at::empty({kSide, kSide}, dtype);
  } else {
    a_ = at::ones({kCopied});
    c_ = at::zeros({kCopied});
  }
}

double Yardstick::run() {
  const Timer timer;
  if (bound_ == Bound::kProducts) {
    at::mm_out(c_, a_, b_);
    return 2.0 * kSide * kSide * kSide / timer.seconds() / 1e9;
  }
  c_.copy_(a_);
  return 2.0 * 4 * kCopied / timer.seconds() / 1e9;
}

}  // namespace ttt
