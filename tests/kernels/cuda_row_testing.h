// Shared by the tests of the CUDA kernels of the small ops: tensors of random values, whose surroundings a kernel must
// leave alone, and launches in every order of the lanes.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda_ttt_testing.h"

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
  void set(std::size_t i, double x) {
    if constexpr (sizeof(T) == 2) {
      data()[i] = bf16_of(static_cast<float>(x));
    } else {
      data()[i] = static_cast<T>(x);
    }
  }
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
  static constexpr std::size_t kGuard = 64;
  std::size_t size_, before_;
  Buffer<T> memory_;
};

// As the program does it.
template <class Arguments>
void launch(const Arguments& arguments) {
  emulated::kernels().launch(arguments, nullptr);
}

template <class Block, class Arguments>
void run(const Arguments& arguments, std::int64_t blocks, LaneOrder order) {
  run_emulated({static_cast<int>(blocks), Block::kThreads, Block::kSharedBytes, order},
               [&](char* shared) { Block(arguments, shared).run(); });
}

// result(order), a vector of all that a kernel wrote, must be the same in every order of the lanes.
template <class Result>
void expect_no_races(const Result& result) {
  const auto bits = [&](LaneOrder order) {
    const std::vector<double> values = result(order);
    std::vector<std::uint64_t> out(values.size());
    std::memcpy(out.data(), values.data(), values.size() * sizeof(double));
    return out;
  };
  const auto straight = bits(LaneOrder::kForward);
  EXPECT_EQ(straight, bits(LaneOrder::kBackward));
  EXPECT_EQ(straight, bits(LaneOrder::kShuffled));
}

inline void append(std::vector<double>& all, const std::vector<double>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

}  // namespace ttt::kernels::cuda
