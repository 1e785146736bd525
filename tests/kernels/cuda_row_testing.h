// Shared by the tests of the CUDA kernels of the small ops: tensors of random values, whose surroundings a kernel must
// leave alone.
#pragma once

#include <random>
#include <vector>

#include "kernels/cuda_testing.h"

namespace ttt::kernels::cuda {

// Of a result rounded to Element: half a unit in the last of 8 bits; fp32: some roundings of sums.
template <class Element>
constexpr double kRowTolerance = sizeof(Element) == 2 ? 4e-3 : 2e-6;

// `size` values of T; at an odd address where not aligned (UBSan finds vectors read from there). NaN until they are
// set, and NaN before and after, which is checked in the end.
template <class T>
class Tensor {
 public:
  explicit Tensor(std::size_t size, bool aligned = true)
      : size_(size), before_(aligned ? kGuard : kGuard + 1), memory_(before_ + size + kGuard) {}
  Tensor(const Tensor&) = delete;
  ~Tensor() {
    const char* begin = reinterpret_cast<const char*>(memory_.data());
    std::size_t changed = 0;
    for (std::size_t i = 0; i < memory_.size() * sizeof(T); ++i)
      changed += i / sizeof(T) - before_ >= size_ && begin[i] != '\xff';
    EXPECT_EQ(changed, 0u) << "bytes around a tensor of " << size_;
  }
  // mean + deviation N(0,1)
  Tensor& randomise(unsigned seed, double mean = 0, double deviation = 1) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(mean, deviation);
    for (std::size_t i = 0; i < size_; ++i) set(i, normal(random));
    return *this;
  }
  void set(std::size_t i, double x) { data()[i] = rounded<T>(x); }
  double operator[](std::size_t i) const {
    const T x = const_cast<Tensor*>(this)->data()[i];
    if constexpr (sizeof(T) == 2) return float_of(x);
    return static_cast<double>(x);
  }
  std::size_t size() const { return size_; }
  T* data() { return memory_.data() + before_; }
  std::vector<double> values() const {
    std::vector<double> out(size_);
    for (std::size_t i = 0; i < size_; ++i) out[i] = (*this)[i];
    return out;
  }
  // Summed over all but the last `width` values: a sum over rows from its parts.
  std::vector<double> column_sums(std::size_t width) const {
    std::vector<double> sums(width, 0);
    for (std::size_t i = 0; i < size_; ++i) sums[i % width] += (*this)[i];
    return sums;
  }

 private:
#ifdef TTT_PTX
  static constexpr std::size_t kGuard = 0;  // the memory knows its bounds
#else
  static constexpr std::size_t kGuard = 64;
#endif
  std::size_t size_, before_;
  Buffer<T> memory_;
};

}  // namespace ttt::kernels::cuda
