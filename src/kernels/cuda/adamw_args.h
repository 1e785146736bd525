// What the CUDA kernels of the optimizer are handed: global norm, clipping, whether the step is taken, and AdamW over
// many tensors, without the host reading anything in between. Equations: optim/adamw.h.
//
// The tables (of pointers, chunks, groups) lie in device memory. Element: the gradients' type, std::uint16_t for bf16, or
// float; all else is fp32. Chunks whose tensors are all aligned to 16 bytes are read in vectors, others value by value.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/tensor_args.h"

namespace ttt::kernels::cuda {

// `count` elements from `first` on of a tensor, by its place in the tables: a block's work.
struct TensorChunk {
  std::int64_t first = 0;
  std::int32_t tensor = 0;
  std::int32_t count = 0;
};

// The chunks of tensors of these sizes, in order.
inline std::vector<TensorChunk> chunks_of(const std::vector<std::int64_t>& sizes) {
  constexpr std::int64_t kChunk = 32768;
  std::vector<TensorChunk> chunks;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    for (std::int64_t first = 0; first < sizes[i]; first += kChunk)
      chunks.push_back(
          {first, static_cast<std::int32_t>(i), static_cast<std::int32_t>(std::min(kChunk, sizes[i] - first))});
  }
  return chunks;
}

// squares_c = sum of g^2 over chunk c.
template <class Element>
struct GradientSquares {
  const Element* const* gradients = nullptr;  // [tensors]
  const TensorChunk* chunks = nullptr;        // [C]
  std::int64_t chunk_count = 0;               // C
  float* squares = nullptr;                   // [C]

  std::string shape() const { return cat(chunk_count, " chunks ", name_of<Element>()); }
};

// norm = sqrt(sum of squares), summed in fp64.
struct GradientNorm {
  const float* squares = nullptr;  // [count], of all launches of GradientSquares
  std::int64_t count = 0;
  double* norm = nullptr;

  std::string shape() const { return cat(count, " sums"); }
};

// What becomes of a step. The host reads it when all is queued.
struct StepDecision {
  double loss = 0, norm = 0;  // norm: of all gradients, before clipping
  double factor = 1;          // that gradients are scaled by: min(1, max_norm / norm)
  double taken = 1;           // 0: parameters and moments stay as they are
};

// A step is taken where its loss and norm are finite and the loss is not above max_loss.
struct DecideStep {
  const double* loss_and_norm = nullptr;  // [2]
  const double* max_loss = nullptr;
  double max_norm = 0;  // 0: no clipping
  StepDecision* result = nullptr;

  std::string shape() const { return "one step"; }
};

struct AdamWTensor {
  float *parameter = nullptr, *exp_avg = nullptr, *exp_avg_sq = nullptr;
  std::uint16_t* copy = nullptr;  // the parameter in bf16; null: not wanted
  std::int32_t group = 0;
};
struct AdamWGroup {
  float lr = 0, weight_decay = 0;
};
struct BiasCorrections {
  float first = 1;        // 1 - beta1^t
  float second_root = 1;  // sqrt(1 - beta2^t)
};

// p -= lr weight_decay p;   m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2;
// p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps),   g the gradient times the clipping's factor.
template <class Element>
struct AdamWUpdate {
  const Element* const* gradients = nullptr;  // [tensors]
  const AdamWTensor* tensors = nullptr;       // [tensors]
  const AdamWGroup* groups = nullptr;
  const TensorChunk* chunks = nullptr;  // [C]
  std::int64_t chunk_count = 0;         // C
  const BiasCorrections* corrections = nullptr;
  const StepDecision* decision = nullptr;  // null: the step is taken, with gradients as they are
  double beta1 = 0, beta2 = 0, eps = 0;

  std::string shape() const { return cat(chunk_count, " chunks ", name_of<Element>()); }
};

}  // namespace ttt::kernels::cuda
