// Shared by the tests of the CUDA kernels: memory and numbers as kernels have them, launches in every order of the
// lanes, and how near a result is to the right one.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/warp_emulated.h"

namespace ttt::kernels::cuda {

// --- numbers and memory ---

inline std::uint16_t bf16_of(float x) {
  return static_cast<std::uint16_t>(pack_bf16(x, 0));
}
inline float float_of(std::uint16_t x) {
  return low_bf16(x);
}
inline float float_of(float x) {
  return x;
}

// x as T holds it; std::uint16_t: in bf16.
template <class T>
T rounded(double x) {
  if constexpr (sizeof(T) == 2) {
    return bf16_of(static_cast<float>(x));
  } else {
    return static_cast<T>(x);
  }
}

// Memory aligned as a GPU's allocations are.
template <class T>
class Buffer {
 public:
  explicit Buffer(std::size_t size) : memory_(size * sizeof(T) + 256, '\xff'), size_(size) {}
  T* data() {
    const auto at = reinterpret_cast<std::uintptr_t>(memory_.data());
    return reinterpret_cast<T*>(memory_.data() + (256 - at % 256) % 256);
  }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t i) { return data()[i]; }

 private:
  std::vector<char> memory_;
  std::size_t size_;
};

inline Buffer<float> floats(const std::vector<double>& x) {
  Buffer<float> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = static_cast<float>(x[i]);
  return out;
}
template <class T>
std::vector<double> in_double(Buffer<T>& x) {
  std::vector<double> out(x.size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = float_of(x[i]);
  return out;
}
inline void append(std::vector<double>& all, const std::vector<double>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

// Of the tensors' difference and the expected one, as a ratio of 2-norms; infinite where a value is not finite.
template <class A, class B>
double relative_error(const A& actual, const B& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(actual[i])) return INFINITY;
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]), norm += expected[i] * expected[i];
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

// --- launches ---

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

}  // namespace ttt::kernels::cuda
