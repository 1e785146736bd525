#include "bench/inner_products.h"

namespace ttt {
namespace {

double per_token(const std::vector<InnerProduct>& products, std::int64_t mini_batch) {
  double sum = 0;
  for (const InnerProduct& product : products) sum += product.flops();
  return sum / static_cast<double>(mini_batch);
}

}  // namespace

std::vector<InnerProduct> forward_products(TttKind kind, std::int64_t K, std::int64_t C) {
  const std::int64_t M = 4 * K;
  if (kind == TttKind::kLinear)
    return {{"K W", C, K, K}, {"Q W", C, K, K}, {"Q K^T", C, K, C}, {"N G", C, C, K}, {"(e K)^T G", K, C, K}};
  return {{"K W1", C, K, M},  {"X2 W2", C, M, K},      {"G2 W2^T", C, K, M},    {"Q K^T", C, K, C},
          {"Q W1", C, K, M},  {"N1 G1", C, C, M},      {"X2q X2^T", C, M, C},   {"X2q W2", C, M, K},
          {"N2 G2", C, C, K}, {"(e K)^T G1", K, C, M}, {"(e X2)^T G2", M, C, K}};
}

std::vector<InnerProduct> backward_products(TttKind kind, std::int64_t K, std::int64_t C) {
  const std::int64_t M = 4 * K;
  if (kind == TttKind::kLinear)
    return {{"G dW'^T", C, K, K}, {"U G^T", C, K, C}, {"U W^T", C, K, K},  {"dA K", C, C, K},  {"dA^T Q", C, C, K},
            {"N^T U", C, C, K},   {"K dW'", C, K, K}, {"dZ W^T", C, K, K}, {"Q^T U", K, C, K}, {"K^T dZ", K, C, K}};
  return {// the second layer's dual form
          {"U2 G2^T", C, K, C},
          {"U2 W2^T", C, K, M},
          {"dA2 X2", C, C, M},
          {"dA2^T X2q", C, C, M},
          {"G2 dW2'^T", C, K, M},
          {"N2^T U2", C, C, K},
          {"X2 dW2'", C, M, K},
          // the first layer's
          {"U1 G1^T", C, M, C},
          {"U1 W1^T", C, M, K},
          {"dA1 K", C, C, K},
          {"dA1^T Q", C, C, K},
          {"G1 dW1'^T", C, M, K},
          {"N1^T U1", C, C, M},
          {"K dW1'", C, K, M},
          // through G1 = (G2 W2^T) (.) phi'(Z1), and through Z2 and Z1
          {"dB W2", C, M, K},
          {"dB^T G2", M, C, K},
          {"dZ2 W2^T", C, K, M},
          {"dZ1 W1^T", C, M, K},
          // the weights
          {"X2q^T U2", M, C, K},
          {"X2^T dZ2", M, C, K},
          {"Q^T U1", K, C, M},
          {"K^T dZ1", K, C, M}};
}

double inner_forward_flops(TttKind kind, std::int64_t head_dim, std::int64_t mini_batch) {
  return per_token(forward_products(kind, head_dim, mini_batch), mini_batch);
}

double inner_backward_flops(TttKind kind, std::int64_t head_dim, std::int64_t mini_batch) {
  return per_token(backward_products(kind, head_dim, mini_batch), mini_batch);
}

}  // namespace ttt
