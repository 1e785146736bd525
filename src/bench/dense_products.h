// The dense products of a training step, and how fast plain at::mm calls do them: the ceiling of a model's speed. Each
// linear layer y = x w^T is three products,
//
//     y = x w^T,   dx = dy w,   dw = dy^T x          x [n, in], w [out, in], y [n, out]
//
// of 2 n in out operations each. Not among them: the inner loops' small products, attention's scores, the scan.
//
// Shapes: n tokens of a micro-batch, V vocabulary, D width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/language_model.h"

namespace ttt {

struct DenseProduct {
  std::string name;  // of the weight, "layers.0.mixer.q_proj.weight"
  std::int64_t in = 0, out = 0;
  bool is_head = false;  // done in chunks of tokens, as ops/cross_entropy.h does it
};

// Every linear layer of the model in the order of its modules, the head (tied or not) last.
std::vector<DenseProduct> dense_products(const LanguageModel& model);

// The products of one micro-batch on operands of their own, all of them allocated once: those of one shape share them.
// Multiplied in multiplied_type(dtype) (bench/yardstick.h).
class DenseCeiling {
 public:
  DenseCeiling(std::vector<DenseProduct> products, std::int64_t tokens, at::ScalarType dtype,
               at::Device device = at::kCPU);

  // All products once: forward in the model's order, then both gradients in the opposite order.
  void run();
  double flops() const { return flops_; }  // of a run

 private:
  struct Operands {
    std::int64_t in, out, chunk;
    bool is_head;
    at::Tensor x, w, y, dx, dw;
  };
  void forward(const Operands& o) const;
  void backward(const Operands& o) const;

  std::int64_t tokens_;
  double flops_ = 0;
  std::vector<Operands> shapes_;
  std::vector<std::size_t> order_;  // of each product: its entry of shapes_
};

}  // namespace ttt
