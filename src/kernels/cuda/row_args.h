// What the CUDA kernels of the small ops are handed: one pass over memory each. Equations: ops/rms_norm.h and so on.
//
// Element: std::uint16_t for bf16, or float, the type of activations in memory; weights, statistics and sums are fp32.
// Pointers may be of any alignment and widths any number: where vectors do not fit (all fit whose rows begin at
// multiples of 16 bytes), values are read one by one. A gradient may take the place of the tensor of the same shape and
// type that it is made from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "kernels/cuda/tensor_args.h"

namespace ttt::kernels::cuda {

inline constexpr std::int64_t kWidestRow = 8192;  // of the norms, whose rows stay in registers

// R: blocks of a backward pass that sums over its N rows, of which each block takes a share, one after the other; a sum
// over rows is left as R parts, which the caller adds up. Eight blocks for each multiprocessor of an H100.
inline std::int64_t row_blocks(std::int64_t rows) {
  return std::min<std::int64_t>((rows + 3) / 4, 8 * 132);
}

// y = x_new scale weight, scale = 1 / sqrt(mean(x_new^2) + eps), x_new = x + delta.
template <class Element>
struct RmsNormForward {
  std::int64_t rows = 0;           // N
  std::int64_t width = 0;          // D
  const float* x = nullptr;        // [N,D]
  const Element* delta = nullptr;  // [N,D]; null: x_new is x
  const float* weight = nullptr;   // [D]
  float eps = 0;
  float* x_new = nullptr;  // [N,D], x itself if wanted; not written without delta
  Element* y = nullptr;    // [N,D]
  float* scale = nullptr;  // [N]

  std::string shape() const { return cat("[", rows, ",", width, "] ", name_of<Element>()); }
};

// dx = d_residual + scale (dy weight - xh mean(dy weight xh)), xh = x scale, with x for x_new.
template <class Element>
struct RmsNormBackward {
  std::int64_t rows = 0;              // N
  std::int64_t width = 0;             // D
  const Element* dy = nullptr;        // [N,D]
  const float* x = nullptr;           // [N,D]
  const float* weight = nullptr;      // [D]
  const float* scale = nullptr;       // [N]
  const float* d_residual = nullptr;  // [N,D], what reaches x past the norm; null: nothing does
  float* dx = nullptr;                // [N,D]
  Element* d_delta = nullptr;         // [N,D], dx once more, rounded; null: not wanted
  float* dweight = nullptr;           // [R,D], R = row_blocks(N)

  std::string shape() const { return cat("[", rows, ",", width, "] ", name_of<Element>()); }
};

// y = gelu_tanh(gate) (weight xh + bias), xh = (o - mean) scale, scale = 1 / sqrt(var + eps), over the D = H K values
// of a token; N = B T tokens. Source: the type of o, Element or float.
template <class Element, class Source>
struct LayerNormGateForward {
  std::int64_t sequences = 0, time = 0;  // B, T
  int heads = 0, head_dim = 0;           // H, K
  HeadRows<const Source> o;
  const float* weight = nullptr;  // [D]
  const float* bias = nullptr;    // [D]
  const Element* gate = nullptr;  // [N,D]; null: no gate
  float eps = 0;
  Element* y = nullptr;    // [N,D]
  float* mean = nullptr;   // [N]
  float* scale = nullptr;  // [N]

  std::int64_t rows() const { return sequences * time; }
  std::int64_t width() const { return std::int64_t{heads} * head_dim; }
  std::string shape() const {
    return cat("o [", sequences, ",", heads, ",", time, ",", head_dim, "] ", name_of<Source>(), ", y ",
               name_of<Element>());
  }
};

template <class Element, class Source>
struct LayerNormGateBackward {
  std::int64_t sequences = 0, time = 0;  // B, T
  int heads = 0, head_dim = 0;           // H, K
  const Element* dy = nullptr;           // [N,D]
  HeadRows<const Source> o;
  const float* weight = nullptr;  // [D]
  const float* bias = nullptr;    // [D]
  const Element* gate = nullptr;  // [N,D]; null: no gate
  const float* mean = nullptr;    // [N]
  const float* scale = nullptr;   // [N]
  HeadRows<Source> d_o;
  Element* dgate = nullptr;  // [N,D]; not written without gate
  float* dweight = nullptr;  // [R,D], R = row_blocks(N)
  float* dbias = nullptr;    // [R,D]

  std::int64_t rows() const { return sequences * time; }
  std::int64_t width() const { return std::int64_t{heads} * head_dim; }
  std::string shape() const {
    return cat("o [", sequences, ",", heads, ",", time, ",", head_dim, "] ", name_of<Source>(), ", y ",
               name_of<Element>());
  }
};

// y = silu(gate) up. Where all is contiguous, one row of all values is the fastest.
template <class Element>
struct SwigluForward {
  std::int64_t rows = 0;
  std::int64_t width = 0;  // F
  StridedRows<const Element> gate, up;
  StridedRows<Element> y;

  std::string shape() const { return cat("[", rows, ",", width, "] ", name_of<Element>()); }
};

template <class Element>
struct SwigluBackward {
  std::int64_t rows = 0;
  std::int64_t width = 0;  // F
  StridedRows<const Element> dy, gate, up;
  StridedRows<Element> dgate, dup;

  std::string shape() const { return cat("[", rows, ",", width, "] ", name_of<Element>()); }
};

// log_sum = log(sum_v exp(x_v)), loss = log_sum - x_target, NaN where the target is not in [0,V).
template <class Element>
struct CrossEntropyForward {
  std::int64_t rows = 0;   // N
  std::int64_t width = 0;  // V
  StridedRows<const Element> logits;
  const std::int64_t* targets = nullptr;  // [N]
  float* loss = nullptr;                  // [N]
  float* log_sum = nullptr;               // [N]

  std::string shape() const { return cat("[", rows, ",", width, "] ", name_of<Element>()); }
};

// x_v = g (exp(x_v - log_sum) - [v = target]), in place.
template <class Element>
struct CrossEntropyGradient {
  std::int64_t rows = 0;   // N
  std::int64_t width = 0;  // V
  StridedRows<Element> logits;
  const std::int64_t* targets = nullptr;  // [N]
  const float* log_sum = nullptr;         // [N]
  const float* g = nullptr;               // [N], the gradient of the loss

  std::string shape() const { return cat("[", rows, ",", width, "] ", name_of<Element>()); }
};

}  // namespace ttt::kernels::cuda
