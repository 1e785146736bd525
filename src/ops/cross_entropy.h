// The loss of a language-model head, without ever holding all logits: -log softmax(hidden head^T)[target], in chunks of
// tokens.
//
//     loss_n = logsumexp_v(l_nv) - l_n,target(n),   l = hidden head^T
//     dl_nv = g_n (softmax_nv - [v = target(n)]),   dhidden = dl head,   dhead = dl^T hidden
//
// The backward pass forms l again chunk by chunk (one more product), so that memory is one chunk, not N x V.
// Shapes: N tokens, D width, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ops/kernel_table.h"

namespace ttt {

// hidden [N,D], head [V,D], targets [N] int64 in [0,V) -> loss [N], in nats. Differentiable in hidden and head.
// Logits are of hidden's type, which head is rounded to where it is another; loss and sums are fp32 (fp64 for fp64).
// chunk_tokens 0: chosen so that a chunk of logits takes about 32 MB, 512 MB on a GPU.
at::Tensor token_cross_entropy(const at::Tensor& hidden_ND, const at::Tensor& head_VD, const at::Tensor& targets_N,
                               std::int64_t chunk_tokens = 0);

// The chunk that chunk_tokens 0 stands for, where logits are of that type.
std::int64_t default_chunk_tokens(std::int64_t vocabulary, at::ScalarType type, at::DeviceType device);

const KernelTable& cross_entropy_kernels();  // its rows

}  // namespace ttt
