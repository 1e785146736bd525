// Arguments of CUDA kernels at addresses that are no multiples of a vector's size.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/cuda_testing.h"

namespace ttt::kernels::cuda {

// While it lives, `pointer` points to a copy of its n values that is `by` values off the alignment of vectors.
template <class T>
class Moved {
 public:
  Moved(T*& pointer, std::int64_t n, std::int64_t by) : pointer_(pointer), home_(pointer), n_(n), memory_(n + by) {
    std::copy_n(home_, n, memory_.data() + by);
    pointer_ = memory_.data() + by;
  }
  Moved(const Moved&) = delete;
  Moved& operator=(const Moved&) = delete;
  ~Moved() {
    if constexpr (!std::is_const_v<T>) std::copy_n(pointer_, n_, home_);
    pointer_ = home_;
  }

 private:
  T*& pointer_;
  T* home_;
  std::int64_t n_;
  Buffer<std::remove_const_t<T>> memory_;
};
// start() with each pointer moved in turn.
template <class Start, class... T>
void start_with_each_moved(const Start& start, std::int64_t n, std::int64_t by, T*&... pointers) {
  const auto one = [&](auto*& pointer) {
    const Moved moved(pointer, n, by);
    start();
  };
  (one(pointers), ...);
}

}  // namespace ttt::kernels::cuda
