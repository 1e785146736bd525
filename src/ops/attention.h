// Causal softmax attention: o_t = sum_{s <= t} softmax_s(q_t . k_s / sqrt(K)) v_s, with a window W only over t-W < s <=
// t.
//
// Shapes: B batch, H heads, T queries, S keys, K head size.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ops/kernel_table.h"

namespace ttt {

// q [B,H,T,K], k and v [B,H,S,K], S >= T: the queries are the last T positions, so query t sees keys 0 .. S-T+t. ->
// [B,H,T,K]. Differentiable. LibTorch's scaled_dot_product_attention chooses the kernel; it is given fp32 where it has
// none for bf16, or where dense products go through fp32 (ops/products.h).
// With window > 0 a query sees the last `window` keys, its own included; time and memory are then T x window.
at::Tensor causal_attention(const at::Tensor& q_BHTK, const at::Tensor& k_BHSK, const at::Tensor& v_BHSK,
                            std::int64_t window = 0);

// Of an output of causal_attention() with gradients: its backward pass adds up in one order, on GPUs too. How many
// nodes of the graph that was. causal_attention() does it by itself where LibTorch is set to be deterministic: in
// trainings on a GPU.
std::int64_t make_attention_gradient_exact(const at::Tensor& o_BHTK);

const KernelTable& attention_kernels();  // its rows

}  // namespace ttt
