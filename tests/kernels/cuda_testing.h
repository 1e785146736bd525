// Shared by the tests of the CUDA kernels: memory and numbers as kernels have them, launches in every order of the
// lanes, and how near a result is to the right one. The tests are compiled twice: for emulated lanes (kernels_tests),
// and with TTT_PTX for the PTX that nvcc has made (ptx_tests).
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/warp_emulated.h"
#ifdef TTT_PTX
#include "ptx/gpu.h"
#endif

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

// Memory aligned as a GPU's allocations are; the only one that the PTX interpreter lets a kernel touch.
template <class T>
struct DeviceAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{256};
  DeviceAllocator() = default;
  template <class U>
  DeviceAllocator(const DeviceAllocator<U>&) {}
  T* allocate(std::size_t n) {
    T* p = static_cast<T*>(::operator new(n * sizeof(T), kAlignment));
#ifdef TTT_PTX
    ptx::global_memory().add(p, n * sizeof(T), sizeof(T));
#endif
    return p;
  }
  void deallocate(T* p, std::size_t) {
#ifdef TTT_PTX
    ptx::global_memory().remove(p);
#endif
    ::operator delete(p, kAlignment);
  }
  bool operator==(const DeviceAllocator&) const {
    return true;
  }
};
template <class T>
using DeviceVector = std::vector<T, DeviceAllocator<T>>;

// Numbers for a kernel, NaN until they are set.
template <class T>
class Buffer {
 public:
  explicit Buffer(std::size_t size) : memory_(size) {
    if (size > 0) std::memset(data(), 0xff, size * sizeof(T));
  }
  T* data() { return memory_.data(); }
  std::size_t size() const { return memory_.size(); }
  T& operator[](std::size_t i) { return data()[i]; }

 private:
  DeviceVector<T> memory_;
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
#ifdef TTT_PTX
  gpu::kernels().launch(arguments, nullptr);
#else
  emulated::kernels().launch(arguments, nullptr);
#endif
}

template <class Block, class Arguments>
EmulatedCounts run(const Arguments& arguments, std::int64_t blocks, LaneOrder order) {
#ifdef TTT_PTX
  const ptx::Launch launch{static_cast<int>(blocks), Block::kThreads, Block::kSharedBytes,
                           static_cast<ptx::WarpOrder>(order)};
  const ptx::Counts counts = ptx::run_kernel(typeid(Block), launch, &arguments, sizeof(arguments));
  return {counts.products, counts.matrix_loads, counts.bank_conflicts, counts.block_barriers};
#else
  return run_emulated({static_cast<int>(blocks), Block::kThreads, Block::kSharedBytes, order},
                      [&](char* shared) { Block(arguments, shared).run(); });
#endif
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
