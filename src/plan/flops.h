// Floating-point operations of a model per token, a multiply-add counted as two. The paper defines none, so there are
// three conventions, each labelled wherever it is shown:
//
//     six_nd      2 N forward, N the parameters with the head (an untied embedding, a mere look-up, left out)
//     chinchilla  appendix F of arXiv 2203.15556: the embedding as a product, all T x T scores and their softmax; what
//                 that appendix does not know, SwiGLU's third matrix and mixers other than attention, by its products
//     exact       the products that this implementation computes: dense layers, convolutions, the inner loop's dual
//                 form, the scan, and the query-key pairs that the causal mask or the window leaves
//
// Training is three times the forward pass in each; what the backward pass computes a second time is apart.
#pragma once

#include <cstdint>

#include "arch/model_config.h"

namespace ttt {

struct Flops {
  double six_nd = 0, chinchilla = 0, exact = 0;

  Flops times(double factor) const { return {six_nd * factor, chinchilla * factor, exact * factor}; }
};

// Of one token in a sequence of `context` tokens, averaged over its positions.
Flops forward_flops(const ModelConfig& config, std::int64_t context);
inline Flops training_flops(const ModelConfig& config, std::int64_t context) {
  return forward_flops(config, context).times(3);
}

// The part of forward_flops' exact products that dense layers do, the head among them: the same at any context.
double dense_flops(const ModelConfig& config);

// Exact products of training that are not in training_flops: the head's logits and the inner loops, computed again in
// the backward pass instead of being kept; with `blocks` (train.recompute) whole blocks.
double recompute_flops(const ModelConfig& config, std::int64_t context, bool blocks);

// TTT's inner loop in the dual form, forward, per token and head of size K with mini-batches of C:
// TTT-Linear 6 K^2 + 4 C K, TTT-MLP 56 K^2 + 20 C K.
double inner_loop_flops(MixerKind kind, std::int64_t head_dim, std::int64_t mini_batch, std::int64_t steps = 1);

}  // namespace ttt
