// Causal softmax attention: o_t = sum_{s <= t} softmax_s(q_t . k_s / sqrt(K)) v_s.
//
// Shapes: B batch, H heads, T queries, S keys, K head size.
#pragma once

#include <ATen/core/Tensor.h>

namespace ttt {

// q [B,H,T,K], k and v [B,H,S,K], S >= T: the queries are the last T positions, so query t sees keys 0 .. S-T+t. ->
// [B,H,T,K]. Differentiable. LibTorch's scaled_dot_product_attention chooses the kernel.
at::Tensor causal_attention(const at::Tensor& q_BHTK, const at::Tensor& k_BHSK, const at::Tensor& v_BHSK);

}  // namespace ttt
