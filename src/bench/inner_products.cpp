#include "bench/inner_products.h"

#include "base/error.h"

namespace ttt {
namespace {

double per_token(const std::vector<InnerProduct>& products, std::int64_t mini_batch) {
  double sum = 0;
  for (const InnerProduct& product : products) sum += product.flops();
  return sum / static_cast<double>(mini_batch);
}

// Columns of each layer's inputs and outputs: K, 4 K, ..., K.
std::vector<std::int64_t> widths(const TttNet& net, std::int64_t K) {
  TTT_CHECK(net.update.steps == 1, "the products of one gradient step are listed, not of ", net.update.steps);
  std::vector<std::int64_t> all(net.layers.size() + 1, 4 * K);
  all.front() = all.back() = K;
  return all;
}

}  // namespace

std::vector<InnerProduct> forward_products(const TttNet& net, std::int64_t K, std::int64_t C) {
  const std::vector<std::int64_t> width = widths(net, K);
  std::vector<InnerProduct> all;
  for (std::size_t l = 0; l < net.layers.size(); ++l) {
    const std::int64_t in = width[l], out = width[l + 1];
    all.insert(all.end(), {{"X W", C, in, out},
                           {"Xq X^T", C, in, C},
                           {"Xq W", C, in, out},
                           {"N G", C, C, out},
                           {"(e X)^T G", in, C, out}});
    if (l > 0) all.push_back({"G W^T", C, out, in});
  }
  return all;
}

std::vector<InnerProduct> backward_products(const TttNet& net, std::int64_t K, std::int64_t C) {
  const std::vector<std::int64_t> width = widths(net, K);
  std::vector<InnerProduct> all;
  for (std::size_t l = 0; l < net.layers.size(); ++l) {
    const std::int64_t in = width[l], out = width[l + 1];
    all.insert(all.end(), {// the dual form
                           {"U G^T", C, out, C},
                           {"U W^T", C, out, in},
                           {"dA X", C, C, in},
                           {"dA^T Xq", C, C, in},
                           {"N^T U", C, C, out},
                           // the update
                           {"G dW'^T", C, out, in},
                           {"X dW'", C, in, out},
                           // through Z
                           {"dZ W^T", C, out, in},
                           // the weights
                           {"Xq^T U", in, C, out},
                           {"X^T dZ", in, C, out}});
    // through the layer below's gradient, B = G W^T
    if (l > 0) all.insert(all.end(), {{"dB W", C, in, out}, {"dB^T G", in, C, out}});
  }
  return all;
}

double inner_forward_flops(const TttNet& net, std::int64_t head_dim, std::int64_t mini_batch) {
  return per_token(forward_products(net, head_dim, mini_batch), mini_batch);
}

double inner_backward_flops(const TttNet& net, std::int64_t head_dim, std::int64_t mini_batch) {
  return per_token(backward_products(net, head_dim, mini_batch), mini_batch);
}

}  // namespace ttt
