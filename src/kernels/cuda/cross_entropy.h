// Cross-entropy of rows of logits on a GPU (row_args.h): a block a row, each thread going through vectors of 16 bytes.
//
// The sum of exponentials is taken in the same pass as the maximum: where a thread's maximum m rises to m', its sum
// becomes sum exp(m - m').
#pragma once

#include <limits>

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/row_args.h"

namespace ttt::kernels::cuda {

inline constexpr int kCrossEntropyThreads = 512;

// Calls body(first column, whole) for the vectors of a row that fall to this thread. They begin at multiples of 16
// bytes, so that the row's first and last ones may hang over its ends; whole: std::true_type where they do not.
template <int kVector, class Element, class Body>
TTT_DEVICE void for_vectors_of_row(const Element* row, int width, const Body& body) {
  const int shift = static_cast<int>(reinterpret_cast<std::uintptr_t>(row) % 16 / sizeof(Element));
  for (int first = thread_in_block() * kVector - shift; first < width; first += kCrossEntropyThreads * kVector) {
    if (first >= 0 && first <= width - kVector) {
      body(first, std::true_type());
    } else {
      body(first, std::false_type());
    }
  }
}

// The target of a row; -1 where it is none.
TTT_DEVICE int target_of(const std::int64_t* targets, std::int64_t row, int width) {
  const std::int64_t target = targets[row];
  return target >= 0 && target < width ? static_cast<int>(target) : -1;
}

template <class Element>
struct CrossEntropyForwardBlock {
  static constexpr int kThreads = kCrossEntropyThreads, kVector = 16 / static_cast<int>(sizeof(Element));
  using Exchange = BlockExchange<kThreads, 1>;
  static constexpr int kSharedBytes = Exchange::kBytes;
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();
  static constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  static constexpr float kLowest = std::numeric_limits<float>::lowest();

  const CrossEntropyForward<Element>& args;
  Exchange exchange;

  TTT_DEVICE CrossEntropyForwardBlock(const CrossEntropyForward<Element>& arguments, char* shared)
      : args(arguments), exchange(shared) {}

  TTT_DEVICE void run() {
    const std::int64_t row = block_in_grid();
    const int width = static_cast<int>(args.width);
    const Element* logits = args.logits.data + row * args.logits.step;
    float top = kLowest, sum = 0;  // finite, so that no difference is NaN
    for_vectors_of_row<kVector>(logits, width, [&](int first, auto whole) {
      float x[kVector], largest = top, more = 0;
      load_some<whole.value, kVector>(logits, first, width, x, -kInfinity);
      TTT_UNROLL
      for (int i = 0; i < kVector; ++i) largest = x[i] > largest ? x[i] : largest;
      TTT_UNROLL
      for (int i = 0; i < kVector; ++i) more += exponential(x[i] - largest);
      sum = sum * exponential(top - largest) + more;
      top = largest;
    });
    const float largest = exchange.largest(top);
    float total[1] = {sum * exponential(top - largest)};
    exchange.sum(total);
    if (thread_in_block() != 0) return;
    const float log_total = natural_logarithm(total[0]);
    const int target = target_of(args.targets, row, width);
    args.log_sum[row] = largest + log_total;
    args.loss[row] = target >= 0 ? largest - value_of(logits[target]) + log_total : kNan;
  }
};

template <class Element>
struct CrossEntropyGradientBlock {
  static constexpr int kThreads = kCrossEntropyThreads, kVector = 16 / static_cast<int>(sizeof(Element));
  static constexpr int kSharedBytes = 0;

  const CrossEntropyGradient<Element>& args;

  TTT_DEVICE CrossEntropyGradientBlock(const CrossEntropyGradient<Element>& arguments, char*) : args(arguments) {}

  TTT_DEVICE void run() {
    const std::int64_t row = block_in_grid();
    const int width = static_cast<int>(args.width), target = target_of(args.targets, row, width);
    const float log_sum = args.log_sum[row], g = args.g[row];
    Element* logits = args.logits.data + row * args.logits.step;
    for_vectors_of_row<kVector>(logits, width, [&](int first, auto whole) {
      float x[kVector];
      load_some<whole.value, kVector>(logits, first, width, x);
      TTT_UNROLL
      for (int i = 0; i < kVector; ++i) x[i] = g * (exponential(x[i] - log_sum) - (first + i == target ? 1.0f : 0.0f));
      store_some<whole.value, kVector>(logits, first, width, x);
    });
  }
};

}  // namespace ttt::kernels::cuda
