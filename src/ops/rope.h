// Rotary position embedding (arXiv 2104.09864) on interleaved pairs, fused with the split into heads:
//
//     (y_2i, y_2i+1) = (x_2i cos a - x_2i+1 sin a, x_2i sin a + x_2i+1 cos a),   a = position * theta^(-2i/K)
//
// Shapes: B batch, T time, D = H*K width, H heads, K head size, P positions in the table.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "ops/kernel_table.h"
#include "ops/row_dispatch.h"

namespace ttt {

// The table of positions 0..P-1, laid out so that y = x cos + swap(x) sin, where swap exchanges the two values of each
// pair: every cosine stands twice, every sine as (-sin, sin).
struct RopeTable {
  at::Tensor cos_PK, sin_PK;  // fp32 (fp64 for fp64 models)
  std::int64_t positions() const { return cos_PK.defined() ? cos_PK.size(0) : 0; }
  bool matches(const at::Tensor& x) const {
    return cos_PK.defined() && cos_PK.scalar_type() == wide_type(x.scalar_type()) && cos_PK.device() == x.device();
  }
};

// A table for x's that have these options. Angles are computed in double and rounded once.
RopeTable make_rope_table(std::int64_t positions, std::int64_t head_dim, double theta,
                          const at::TensorOptions& options);

// x [B,T,D] -> [B,H,T,K] of type `to`, x's unless given; contiguous, rotated. Token t takes row (offset + t) mod P of
// the table: P = C gives TTT's positions inside the mini-batch. Differentiable in x.
at::Tensor rope_split_heads(const at::Tensor& x_BTD, std::int64_t num_heads, const RopeTable& table,
                            std::int64_t offset, std::optional<at::ScalarType> to = std::nullopt);
at::Tensor rope_split_heads_composed(const at::Tensor& x_BTD, std::int64_t num_heads, const RopeTable& table,
                                     std::int64_t offset, std::optional<at::ScalarType> to = std::nullopt);

// x [B,T,D] -> [B,H,T,K], a view: the split alone.
at::Tensor split_heads(const at::Tensor& x_BTD, std::int64_t num_heads);

const KernelTable& rope_kernels();  // its rows

}  // namespace ttt
