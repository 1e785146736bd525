// Global norm, clipping and AdamW on a GPU (adamw_args.h): a block a chunk.
#pragma once

#include "kernels/cuda/adamw_args.h"
#include "kernels/cuda/elementwise.h"

namespace ttt::kernels::cuda {

inline constexpr int kChunkThreads = 256;

// Calls body(first of four values, whole) for those of a chunk that fall to this thread; whole: std::true_type where
// they are within the chunk, and vectors fit.
template <class Body>
TTT_DEVICE void for_each_four(int count, bool fit, const Body& body) {
  for (int first = 4 * thread_in_block(); first < count; first += 4 * kChunkThreads) {
    if (fit && first + 4 <= count) {
      body(first, std::true_type());
    } else {
      body(first, std::false_type());
    }
  }
}

template <class Element>
struct GradientSquaresBlock {
  using Exchange = BlockExchange<kChunkThreads, 1>;
  static constexpr int kThreads = kChunkThreads, kSharedBytes = Exchange::kBytes;

  const GradientSquares<Element>& args;
  Exchange exchange;

  TTT_DEVICE GradientSquaresBlock(const GradientSquares<Element>& arguments, char* shared)
      : args(arguments), exchange(shared) {}

  // In four sums a thread, and then in pairs: no sum of fp32 has more than a few dozen terms.
  TTT_DEVICE void run() {
    const TensorChunk chunk = args.chunks[block_in_grid()];
    const Element* gradient = args.gradients[chunk.tensor] + chunk.first;
    float sums[4] = {};
    for_each_four(chunk.count, vectors_fit<4>(gradient), [&](int first, auto whole) {
      float g[4];
      load_some<whole.value, 4>(gradient, first, chunk.count, g);
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) sums[i] += g[i] * g[i];
    });
    float sum[1] = {(sums[0] + sums[1]) + (sums[2] + sums[3])};
    exchange.sum(sum);
    if (thread_in_block() == 0) args.squares[block_in_grid()] = sum[0];
  }
};

// One block.
struct GradientNormBlock {
  static constexpr int kThreads = 512, kSharedBytes = kThreads * 8;

  const GradientNorm& args;
  double* sums;  // of the threads

  TTT_DEVICE GradientNormBlock(const GradientNorm& arguments, char* shared)
      : args(arguments), sums(reinterpret_cast<double*>(shared)) {}

  TTT_DEVICE void run() {
    const int thread = thread_in_block();
    double sum = 0;
    for (std::int64_t i = thread; i < args.count; i += kThreads) sum += args.squares[i];
    sums[thread] = sum;
    for (int half = kThreads / 2; half > 0; half /= 2) {
      sync_block();
      if (thread < half) sums[thread] += sums[thread + half];
    }
    if (thread != 0) return;
    *args.norm = square_root(static_cast<float>(sums[0]));
  }
};

// One block.
struct DecideStepBlock {
  static constexpr int kThreads = 32, kSharedBytes = 0;

  const DecideStep& args;

  TTT_DEVICE DecideStepBlock(const DecideStep& arguments, char*) : args(arguments) {}

  TTT_DEVICE void run() {
    if (thread_in_block() != 0) return;
    const double loss = args.loss_and_norm[0], norm = args.loss_and_norm[1];
    const bool finite = loss - loss == 0 && norm - norm == 0;
    args.result->loss = loss;
    args.result->norm = norm;
    args.result->factor = args.max_norm > 0 && norm > args.max_norm ? args.max_norm / norm : 1;
    args.result->taken = finite && loss <= *args.max_loss ? 1 : 0;
  }
};

template <class Element>
struct AdamWUpdateBlock {
  static constexpr int kThreads = kChunkThreads, kSharedBytes = 0;

  const AdamWUpdate<Element>& args;

  TTT_DEVICE AdamWUpdateBlock(const AdamWUpdate<Element>& arguments, char*) : args(arguments) {}

  TTT_DEVICE void run() {
    if (args.decision != nullptr && args.decision->taken == 0) return;
    const TensorChunk chunk = args.chunks[block_in_grid()];
    const AdamWTensor tensor = args.tensors[chunk.tensor];
    const AdamWGroup group = args.groups[tensor.group];
    const Element* gradient = args.gradients[chunk.tensor] + chunk.first;
    float *parameter = tensor.parameter + chunk.first, *exp_avg = tensor.exp_avg + chunk.first,
          *exp_avg_sq = tensor.exp_avg_sq + chunk.first;
    std::uint16_t* copy = tensor.copy != nullptr ? tensor.copy + chunk.first : nullptr;

    const float clip = args.decision != nullptr ? static_cast<float>(args.decision->factor) : 1;
    const float beta1 = static_cast<float>(args.beta1), rest1 = static_cast<float>(1 - args.beta1);
    const float beta2 = static_cast<float>(args.beta2), rest2 = static_cast<float>(1 - args.beta2);
    const float eps = static_cast<float>(args.eps), decay = group.lr * group.weight_decay;
    const float step = group.lr / args.corrections->first, root = args.corrections->second_root;

    const bool fit = vectors_fit<4>(gradient, parameter, exp_avg, exp_avg_sq, copy);
    for_each_four(chunk.count, fit, [&](int first, auto whole) {
      float g[4], p[4], m[4], v[4];
      load_some<whole.value, 4>(gradient, first, chunk.count, g);
      load_some<whole.value, 4>(parameter, first, chunk.count, p);
      load_some<whole.value, 4>(exp_avg, first, chunk.count, m);
      load_some<whole.value, 4>(exp_avg_sq, first, chunk.count, v);
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) {
        g[i] *= clip;
        p[i] -= decay * p[i];
        m[i] = beta1 * m[i] + rest1 * g[i];
        v[i] = beta2 * v[i] + rest2 * g[i] * g[i];
        p[i] -= step * m[i] / (square_root(v[i]) / root + eps);
      }
      store_some<whole.value, 4>(parameter, first, chunk.count, p);
      store_some<whole.value, 4>(exp_avg, first, chunk.count, m);
      store_some<whole.value, 4>(exp_avg_sq, first, chunk.count, v);
      if (copy != nullptr) store_some<whole.value, 4>(copy, first, chunk.count, p);
    });
  }
};

}  // namespace ttt::kernels::cuda
