// SwiGLU's elementwise part on a GPU, forward and backward (row_args.h): the threads of all blocks go through the rows'
// vectors of 16 bytes side by side.
#pragma once

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/row_args.h"
#include "kernels/cuda/scalar_math.h"

namespace ttt::kernels::cuda {

inline constexpr int kSwigluThreads = 256;

// 16 bytes; vectors of a row, of which the last may be short.
template <class Element>
inline constexpr int kSwigluVector = 16 / static_cast<int>(sizeof(Element));
template <class Element>
std::int64_t swiglu_vectors(std::int64_t rows, std::int64_t width) {
  return rows * ((width + kSwigluVector<Element> - 1) / kSwigluVector<Element>);
}

// Eight blocks for each multiprocessor of an H100, or fewer where there is less to do.
inline std::int64_t swiglu_blocks(std::int64_t vectors) {
  return std::min<std::int64_t>((vectors + kSwigluThreads - 1) / kSwigluThreads, 8 * 132);
}

// Calls body(row, first column, whole) for the vectors that fall to this thread; whole: std::true_type where the vector
// is within the row, and vectors fit in all rows.
template <class Element, class Arguments, class Body>
TTT_DEVICE void for_each_vector(const Arguments& args, bool fit, const Body& body) {
  constexpr int kVector = kSwigluVector<Element>;
  const std::uint32_t vectors = static_cast<std::uint32_t>((args.width + kVector - 1) / kVector);
  const std::uint32_t all = static_cast<std::uint32_t>(args.rows) * vectors;
  const std::uint32_t step = static_cast<std::uint32_t>(blocks_in_grid()) * kSwigluThreads;
  for (std::uint32_t v = static_cast<std::uint32_t>(block_in_grid() * kSwigluThreads + thread_in_block()); v < all;
       v += step) {
    const std::int64_t row = v / vectors, first = static_cast<std::int64_t>(v % vectors) * kVector;
    if (fit && first + kVector <= args.width) {
      body(row, first, std::true_type());
    } else {
      body(row, first, std::false_type());
    }
  }
}

// Whether vectors fit in all of these.
template <class Element, class... T>
TTT_DEVICE bool rows_fit(std::int64_t rows, const StridedRows<T>&... tensors) {
  constexpr int n = kSwigluVector<Element>;
  return vectors_fit<n>(tensors.data...) && (rows == 1 || (... | tensors.step) % n == 0);
}

template <class Element>
struct SwigluForwardBlock {
  static constexpr int kThreads = kSwigluThreads, kSharedBytes = 0;
  const SwigluForward<Element>& args;

  TTT_DEVICE SwigluForwardBlock(const SwigluForward<Element>& arguments, char*) : args(arguments) {}

  TTT_DEVICE void run() {
    const bool fit = rows_fit<Element>(args.rows, args.gate, args.up, args.y);
    for_each_vector<Element>(args, fit, [&](std::int64_t row, std::int64_t first, auto whole) {
      constexpr int n = kSwigluVector<Element>;
      float gate[n], up[n];
      load_some<whole.value, n>(args.gate.data + row * args.gate.step, first, args.width, gate);
      load_some<whole.value, n>(args.up.data + row * args.up.step, first, args.width, up);
      TTT_UNROLL
      for (int i = 0; i < n; ++i) up[i] *= gate[i] * sigmoid(gate[i]);
      store_some<whole.value, n>(args.y.data + row * args.y.step, first, args.width, up);
    });
  }
};

template <class Element>
struct SwigluBackwardBlock {
  static constexpr int kThreads = kSwigluThreads, kSharedBytes = 0;
  const SwigluBackward<Element>& args;

  TTT_DEVICE SwigluBackwardBlock(const SwigluBackward<Element>& arguments, char*) : args(arguments) {}

  TTT_DEVICE void run() {
    const bool fit = rows_fit<Element>(args.rows, args.dy, args.gate, args.up, args.dgate, args.dup);
    for_each_vector<Element>(args, fit, [&](std::int64_t row, std::int64_t first, auto whole) {
      constexpr int n = kSwigluVector<Element>;
      float dy[n], gate[n], up[n];
      load_some<whole.value, n>(args.dy.data + row * args.dy.step, first, args.width, dy);
      load_some<whole.value, n>(args.gate.data + row * args.gate.step, first, args.width, gate);
      load_some<whole.value, n>(args.up.data + row * args.up.step, first, args.width, up);
      TTT_UNROLL
      for (int i = 0; i < n; ++i) {
        const float g = gate[i], s = sigmoid(g);
        gate[i] = dy[i] * up[i] * (s + g * s * (1 - s));  // dgate
        up[i] = dy[i] * g * s;                            // dup
      }
      store_some<whole.value, n>(args.dgate.data + row * args.dgate.step, first, args.width, gate);
      store_some<whole.value, n>(args.dup.data + row * args.dup.step, first, args.width, up);
    });
  }
};

}  // namespace ttt::kernels::cuda
