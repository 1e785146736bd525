// The matrix products of a TTT layer's inner loop, forward and backward, one by one (dual form; arXiv 2407.04620): what
// the FLOPs of `ttt bench op` are counted from. Names are those of kernels/reference/ttt_reference.h; R, U and the d's
// are the backward pass's:
//
//     U = dZq;  dN = -M (.) U G^T;  dA = E (.) dN;  R = G dW'^T   (primes: carried in from the following mini-batch)
//     dQ = dO + U W^T + dA K;   dK = dA^T Q - e (.) R + dD + dZ W^T;   dG = -N^T U - e (.) (K dW' + 1 dc')
//     dW = dW' + Q^T U + K^T dZ
//
// for each layer of the net, joined by dXq, dX, dG and dB. C x C matrices are counted in
// full, not as triangles. A backward pass that did not keep the forward pass's products does them again on top.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/ttt.h"

namespace ttt {

// A product [rows, inner] x [inner, cols], once for each mini-batch and head.
struct InnerProduct {
  const char* name;
  std::int64_t rows, inner, cols;
  double flops() const { return 2.0 * static_cast<double>(rows * inner) * static_cast<double>(cols); }
};

// K head size, C tokens in a mini-batch; hidden layers are 4 K wide.
std::vector<InnerProduct> forward_products(const TttNet& net, std::int64_t head_dim, std::int64_t mini_batch);
std::vector<InnerProduct> backward_products(const TttNet& net, std::int64_t head_dim, std::int64_t mini_batch);

// Per token and head. Forward: TTT-Linear 6 K^2 + 4 C K, TTT-MLP 56 K^2 + 20 C K. Backward: twice that.
double inner_forward_flops(const TttNet& net, std::int64_t head_dim, std::int64_t mini_batch);
double inner_backward_flops(const TttNet& net, std::int64_t head_dim, std::int64_t mini_batch);

}  // namespace ttt
