// The mixers that TTT is compared with, for `ttt bench op`: attention and Mamba's selective scan; and the dense layer.
#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "bench/op_case.h"
#include "ops/attention.h"
#include "ops/linear.h"
#include "ops/selective_scan.h"

namespace ttt {
namespace {

using Sizes = std::vector<std::int64_t>;

constexpr std::int64_t kStates = 16;

// Softmax over all scores, those in the future masked.
at::Tensor naive_attention(const Tensors& qkv) {
  if (const at::ScalarType own = qkv[0].scalar_type(), type = multiplied_type(own, qkv[0].device()); type != own)
    return naive_attention(to_type(qkv, type)).to(own);
  const std::int64_t T = qkv[0].size(2);
  const at::Tensor future_TT = at::ones({T, T}, qkv[0].options().dtype(at::kBool)).triu(1);
  const at::Tensor scores_BHTT =
      at::matmul(qkv[0], qkv[1].transpose(2, 3)) / std::sqrt(static_cast<double>(qkv[0].size(3)));
  return at::matmul(at::softmax(scores_BHTT.masked_fill(future_TT, -INFINITY), -1), qkv[2]);
}

ScanInputs scan_inputs(const Tensors& a) {
  return {a[0], a[1], a[2], a[3], a[4], a[5]};
}

}  // namespace

OpCase attention_case(const OpSizes& s) {
  RandomTensors random(s);
  const Sizes sizes_BHTK{s.batch, s.heads, s.context, s.head_dim};
  OpCase op;
  op.unit = "token-head";
  op.work.forward = 2 * static_cast<double>(s.head_dim) * static_cast<double>(s.context + 1);
  op.work.forward_backward = 3 * op.work.forward;
  op.work_note =
      "two products with the keys that the mask leaves, (T+1)/2 of them, forward; four backward; scores that are "
      "computed again are not counted";
  add_autograd_contenders(
      op, attention_kernels(), s, static_cast<double>(s.batch * s.heads * s.context),
      {s.activation(random.normal(sizes_BHTK, 1)), s.activation(random.normal(sizes_BHTK, 1)),
       s.activation(random.normal(sizes_BHTK, 1))},
      sizes_BHTK, [](const Tensors& a) { return causal_attention(a[0], a[1], a[2]); }, naive_attention);
  return op;
}

OpCase selective_scan_case(const OpSizes& s) {
  RandomTensors random(s);
  const std::int64_t E = 2 * s.width();
  const Sizes sizes_BTE{s.batch, s.context, E}, sizes_BTN{s.batch, s.context, kStates};
  OpCase op;
  op.unit = "token";
  op.bound = Bound::kMemory;
  const auto channels = static_cast<double>(E), states = static_cast<double>(kStates);
  op.work.forward = sizeof(float) * (3 * channels + 2 * states);
  op.work.forward_backward = op.work.forward + sizeof(float) * (5 * channels + 4 * states);
  op.work_note = cat(E, " channels of ", kStates, " states; inputs, outputs and their gradients. ",
                     "fp32 in every model. It is the exponentials, one a channel and state, that take the time");
  add_autograd_contenders(
      op, selective_scan_kernels(), s, static_cast<double>(s.batch * s.context),
      to_type({random.normal(sizes_BTE, 1), 0.001 + 0.1 * at::sigmoid(random.normal(sizes_BTE, 1)),
               -at::arange(1, kStates + 1, at::kDouble).repeat({E, 1}), random.normal(sizes_BTN, 1),
               random.normal(sizes_BTN, 1), 1 + random.normal({E}, 0.1)},
              at::kFloat),
      sizes_BTE, [](const Tensors& a) { return selective_scan(scan_inputs(a)); },
      [](const Tensors& a) { return selective_scan_composed(scan_inputs(a)); });
  return op;
}

OpCase linear_case(const OpSizes& s) {
  RandomTensors random(s);
  const std::int64_t D = s.width();
  OpCase op;
  op.unit = "token";
  op.work.forward = 2 * static_cast<double>(D) * static_cast<double>(D);
  op.work.forward_backward = 3 * op.work.forward;
  op.work_note = cat("three products with a weight of ", D, " x ", D);
  add_autograd_contenders(
      op, linear_kernels(), s, static_cast<double>(s.batch * s.context),
      {s.activation(random.normal({s.batch, s.context, D}, 1)), s.wide(random.normal({D, D}, 0.02)),
       s.wide(random.normal({D}, 0.02))},
      {s.batch, s.context, D}, [](const Tensors& a) { return linear_layer(a[0], a[1], a[2]); },
      [device = s.device](const Tensors& a) {
        const at::ScalarType type = multiplied_type(a[0].scalar_type(), device);
        return at::linear(a[0].to(type), a[1].to(type), a[2].to(type)).to(a[0].scalar_type());
      });
  return op;
}

}  // namespace ttt
