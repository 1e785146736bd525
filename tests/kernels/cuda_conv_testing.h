// Shared by the tests of the CUDA kernels with a causal convolution or RoPE: random values, and the convolution's loops
// in double.
#pragma once

#include <random>

#include "kernels/cuda/conv_rope_args.h"
#include "kernels/cuda_moved_testing.h"

namespace ttt::kernels::cuda {

inline constexpr std::int64_t W = kConvTaps;

// A result rounded to bf16 once (half a unit of 2^-8 at most, about 2e-3 in 2-norm), or sums in fp32.
template <class Element>
constexpr double kTolerance = sizeof(Element) == 2 ? 4e-3 : 1e-5;

// n random values of what Element holds, and the same in double.
template <class Element>
struct Random {
  Buffer<Element> memory;
  std::vector<double> values;

  Random(std::int64_t n, unsigned seed) : memory(n), values(n) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    for (std::int64_t i = 0; i < n; ++i) {
      memory[i] = rounded<Element>(normal(random));
      values[i] = float_of(memory[i]);
    }
  }
  const Element* data() { return memory.data(); }
};

// [R,by] summed over R, as the caller does.
inline std::vector<double> summed(Buffer<float>& x, std::int64_t by) {
  std::vector<double> sums(by, 0);
  for (std::size_t i = 0; i < x.size(); ++i) sums[i % by] += x[i];
  return sums;
}

struct Sizes {
  std::int64_t sequences, time, width;
};

// y of the convolution in double: x [B,T,D], window [B,W-1,D] or empty, weight [W,D].
inline std::vector<double> conv_in_double(const Sizes& s, const std::vector<double>& x,
                                          const std::vector<double>& window, const std::vector<double>& weight,
                                          const std::vector<double>& bias) {
  std::vector<double> y(x.size());
  for (std::int64_t b = 0; b < s.sequences; ++b)
    for (std::int64_t t = 0; t < s.time; ++t)
      for (std::int64_t d = 0; d < s.width; ++d) {
        double sum = bias[d];
        for (std::int64_t w = 0; w < W; ++w) {
          const std::int64_t from = t - W + 1 + w;
          if (from >= 0) {
            sum += weight[w * s.width + d] * x[(b * s.time + from) * s.width + d];
          } else if (!window.empty()) {
            sum += weight[w * s.width + d] * window[(b * (W - 1) + W - 1 + from) * s.width + d];
          }
        }
        y[(b * s.time + t) * s.width + d] = sum;
      }
  return y;
}

// Adds its gradients to dx, dweight, dbias.
inline void add_conv_gradients(const Sizes& s, const std::vector<double>& x, const std::vector<double>& window,
                               const std::vector<double>& weight, const std::vector<double>& dy,
                               std::vector<double>& dx, std::vector<double>& dweight, std::vector<double>& dbias) {
  for (std::int64_t b = 0; b < s.sequences; ++b)
    for (std::int64_t t = 0; t < s.time; ++t)
      for (std::int64_t d = 0; d < s.width; ++d) {
        const double g = dy[(b * s.time + t) * s.width + d];
        dbias[d] += g;
        for (std::int64_t w = 0; w < W; ++w) {
          const std::int64_t from = t - W + 1 + w;
          if (from >= 0) {
            dx[(b * s.time + from) * s.width + d] += weight[w * s.width + d] * g;
            dweight[w * s.width + d] += g * x[(b * s.time + from) * s.width + d];
          } else if (!window.empty()) {
            dweight[w * s.width + d] += g * window[(b * (W - 1) + W - 1 + from) * s.width + d];
          }
        }
      }
}

}  // namespace ttt::kernels::cuda
