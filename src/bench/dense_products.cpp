#include "bench/dense_products.h"

#include <ATen/ATen.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "base/error.h"
#include "bench/yardstick.h"
#include "nn/layers.h"
#include "nn/mixer.h"
#include "ops/cross_entropy.h"

namespace ttt {

std::vector<DenseProduct> dense_products(const LanguageModel& model) {
  std::vector<DenseProduct> products;
  DenseProduct head;
  for (const auto& item : model.named_modules(/*name_prefix=*/"", /*include_self=*/false)) {
    const torch::nn::Module* module = item.value().get();
    const auto add = [&](const char* weight, const torch::Tensor& w, std::int64_t in) {
      products.push_back({item.key() + "." + weight, in, w.numel() / in, false});
    };
    if (item.key() == "embedding" || item.key() == "lm_head") {  // the later one is the head
      const torch::Tensor& weight_VD = dynamic_cast<const Weight&>(*module).weight;
      head = {item.key() + ".weight", weight_VD.size(1), weight_VD.size(0), true};
    } else if (const auto* linear = dynamic_cast<const Linear*>(module)) {
      add("weight", linear->weight, linear->weight.size(1));
    } else if (const auto* biased = dynamic_cast<const BiasedLinear*>(module)) {
      add("weight", biased->weight, biased->weight.size(1));
    } else if (const auto* mixer = dynamic_cast<const SequenceMixer*>(module)) {
      const auto own = mixer->named_parameters(/*recurse=*/false);
      for (const std::string& name : mixer->dense_weights()) add(name.c_str(), own[name], own[name].size(-1));
    }
  }
  TTT_CHECK(head.is_head, "a model without an embedding");
  products.push_back(head);
  return products;
}

DenseCeiling::DenseCeiling(std::vector<DenseProduct> products, std::int64_t tokens, at::ScalarType dtype,
                           at::Device device)
    : tokens_(tokens) {
  const at::ScalarType multiplied = multiplied_type(dtype, device);
  const auto random = [&](std::int64_t rows, std::int64_t cols) {
    return at::randn({rows, cols}, at::TensorOptions(device)).to(multiplied);
  };
  for (const DenseProduct& product : products) {
    const std::int64_t in = product.in, out = product.out;
    flops_ += 3 * 2 * static_cast<double>(tokens) * static_cast<double>(in) * static_cast<double>(out);
    const auto same = std::find_if(shapes_.begin(), shapes_.end(), [&](const Operands& o) {
      return o.in == in && o.out == out && o.is_head == product.is_head;
    });
    order_.push_back(static_cast<std::size_t>(same - shapes_.begin()));
    if (same != shapes_.end()) continue;
    Operands o;
    o.in = in;
    o.out = out;
    o.x = random(tokens, in);
    o.w = random(out, in);
    o.is_head = product.is_head;
    o.chunk = o.is_head ? std::min(tokens, default_chunk_tokens(out, dtype, device.type())) : tokens;
    o.y = random(o.chunk, out);
    o.dx = random(tokens, in);
    o.dw = random(out, in);
    shapes_.push_back(std::move(o));
  }
}

void DenseCeiling::run() {
  const torch::NoGradGuard no_grad;
  for (const std::size_t shape : order_) forward(shapes_[shape]);
  for (auto shape = order_.rbegin(); shape != order_.rend(); ++shape) backward(shapes_[*shape]);
}

void DenseCeiling::forward(const Operands& o) const {
  for (std::int64_t begin = 0; begin < tokens_; begin += o.chunk) {
    const auto n = std::min(o.chunk, tokens_ - begin);
    at::Tensor y = o.y.narrow(0, 0, n);
    at::mm_out(y, o.x.narrow(0, begin, n), o.w.t());
  }
}

void DenseCeiling::backward(const Operands& o) const {
  for (std::int64_t begin = 0; begin < tokens_; begin += o.chunk) {
    const auto n = std::min(o.chunk, tokens_ - begin);
    const at::Tensor dy = o.y.narrow(0, 0, n);
    at::Tensor dx = o.dx.narrow(0, begin, n), dw = o.dw;
    at::mm_out(dx, dy, o.w);
    if (begin == 0) {
      at::mm_out(dw, dy.t(), o.x.narrow(0, begin, n));
    } else {  // a chunked head adds its gradient up
      dw.addmm_(dy.t(), o.x.narrow(0, begin, n));
    }
  }
}

}  // namespace ttt
