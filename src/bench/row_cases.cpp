// The ops that work row by row for `ttt bench op`: one pass over memory each, against the same as ATen calls.
#include <ATen/ATen.h>

#include "bench/op_case.h"
#include "ops/causal_conv.h"
#include "ops/conv_rope.h"
#include "ops/conv_silu.h"
#include "ops/layer_norm_gate.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/row_dispatch.h"
#include "ops/swiglu.h"

namespace ttt {
namespace {

using Sizes = std::vector<std::int64_t>;

// What a pass must read and write of a row's values.
struct Traffic {
  double activations = 0, wide = 0;
};

// Rows of `width` values.
OpCase row_case(const KernelTable& table, const OpSizes& s, std::int64_t width, Traffic forward, Traffic backward,
                const char* what, const Tensors& arguments, at::IntArrayRef output_sizes, const OpFunction& function,
                const OpFunction& naive) {
  const auto bytes = [&](const Traffic& t) {
    return (s.value_bytes() * t.activations + sizeof(float) * t.wide) * static_cast<double>(width);
  };
  OpCase op;
  op.unit = "token";
  op.bound = Bound::kMemory;
  op.work = {bytes(forward), bytes(forward) + bytes(backward)};
  op.work_note = what;
  add_autograd_contenders(op, table, s, static_cast<double>(s.batch * s.context), arguments, output_sizes, function,
                          naive);
  return op;
}

// The type of results in a model whose activations are of s.dtype, or fp64 where the arguments are.
at::ScalarType result_type(const OpSizes& s, const Tensors& arguments) {
  return arguments[0].scalar_type() == at::kDouble ? at::kDouble : s.dtype;
}

// The table of a mini-batch's positions as TTT layers have it, for arguments in fp64 on the CPU and for the op's own.
std::function<RopeTable(const at::Tensor&)> rope_tables(const OpSizes& s) {
  const auto table_of = [&](const at::TensorOptions& options) {
    return make_rope_table(s.mini_batch, s.head_dim, /*theta=*/10000, options);
  };
  return [exact = table_of(at::kDouble), own = table_of(at::TensorOptions(s.device).dtype(s.dtype))](
             const at::Tensor& x) { return exact.matches(x) ? exact : own; };
}

}  // namespace

OpCase rms_norm_case(const OpSizes& s) {
  RandomTensors random(s);
  const std::int64_t D = s.width();
  const Sizes sizes_BTD{s.batch, s.context, D};
  return row_case(
      rms_norm_kernels(), s, D, {1, 1}, {1, 2}, "x in, y out; x and dy in, dx out; x and dx are fp32",
      {s.wide(random.normal(sizes_BTD, 1)), s.wide(1 + random.normal({D}, 0.1))}, sizes_BTD,
      [=](const Tensors& a) { return rms_norm(a[0], a[1], kRmsNormEps, result_type(s, a)); },
      [=](const Tensors& a) { return rms_norm_composed(a[0], a[1], kRmsNormEps, result_type(s, a)); });
}

OpCase swiglu_case(const OpSizes& s) {
  RandomTensors random(s);
  const std::int64_t F = s.mlp_width();
  const Sizes sizes_BTF{s.batch, s.context, F};
  return row_case(
      swiglu_kernels(), s, F, {3, 0}, {5, 0}, "gate and up in, y out; gate, up and dy in, two gradients out",
      {s.activation(random.normal(sizes_BTF, 1)), s.activation(random.normal(sizes_BTF, 1))}, sizes_BTF,
      [](const Tensors& a) { return swiglu(a[0], a[1]); },
      [](const Tensors& a) { return swiglu_composed(a[0], a[1]); });
}

OpCase layer_norm_gate_case(const OpSizes& s) {
  RandomTensors random(s);
  const std::int64_t D = s.width();
  const Sizes sizes_BTD{s.batch, s.context, D};
  return row_case(
      layer_norm_gate_kernels(), s, D, {2, 1}, {3, 2},
      "o and gate in, y out; o, gate and dy in, two gradients out; o and do are fp32",
      {s.wide(random.normal({s.batch, s.heads, s.context, s.head_dim}, 1)), s.wide(1 + random.normal({D}, 0.1)),
       s.wide(random.normal({D}, 0.1)), s.activation(random.normal(sizes_BTD, 1))},
      sizes_BTD, [](const Tensors& a) { return layer_norm_gate(a[0], a[1], a[2], a[3]); },
      [](const Tensors& a) { return layer_norm_gate_composed(a[0], a[1], a[2], a[3]); });
}

OpCase causal_conv_case(const OpSizes& s) {
  RandomTensors random(s);
  const std::int64_t D = s.width();
  const Sizes sizes_BTD{s.batch, s.context, D};
  return row_case(
      causal_conv_kernels(), s, D, {2, 0}, {3, 0}, "x in, y out; x and dy in, dx out",
      {s.activation(random.normal(sizes_BTD, 1)), s.wide(random.normal({D, 1, kConvWidth}, 0.5)),
       s.wide(random.normal({D}, 0.1))},
      sizes_BTD, [](const Tensors& a) { return causal_conv(a[0], a[1], a[2]); },
      [](const Tensors& a) { return causal_conv_composed(a[0], a[1], a[2]); });
}

OpCase rope_case(const OpSizes& s) {
  RandomTensors random(s);
  const std::int64_t D = s.width();
  const auto table = rope_tables(s);
  return row_case(
      rope_kernels(), s, D, {1, 1}, {1, 1}, "x in, y out; dy in, dx out; y and dy are fp32",
      {s.activation(random.normal({s.batch, s.context, D}, 1))}, {s.batch, s.heads, s.context, s.head_dim},
      [=](const Tensors& a) { return rope_split_heads(a[0], s.heads, table(a[0]), 0, wide_type(a[0].scalar_type())); },
      [=](const Tensors& a) {
        return rope_split_heads_composed(a[0], s.heads, table(a[0]), 0, wide_type(a[0].scalar_type()));
      });
}

// Q and K of TTT, as one tensor: [2,B,H,T,K].
OpCase conv_rope_case(const OpSizes& s) {
  RandomTensors random(s);
  const std::int64_t D = s.width();
  const auto table = rope_tables(s);
  const auto weight = [&] { return s.wide(random.normal({D, 1, kConvWidth}, 0.5)); };
  const auto bias = [&] { return s.wide(random.normal({D}, 0.1)); };
  const auto composed = [=](const Tensors& a, std::size_t weight_index) {
    const at::Tensor x = causal_conv_composed(a[0], a[weight_index], a[weight_index + 1]);
    return rope_split_heads_composed(x, s.heads, table(x), 0, wide_type(x.scalar_type()));
  };
  return row_case(
      conv_rope_kernels(), s, D, {1, 2}, {2, 2},
      "x in, q and k out; x, dq and dk in, dx out; q, k and their gradients are fp32",
      {s.activation(random.normal({s.batch, s.context, D}, 1)), weight(), bias(), weight(), bias()},
      {2, s.batch, s.heads, s.context, s.head_dim},
      [=](const Tensors& a) {
        const auto [q, k] = conv_rope_split_heads(a[0], {a[1], a[2]}, {a[3], a[4]}, {}, s.heads, table(a[0]), 0,
                                                  wide_type(a[0].scalar_type()));
        return at::stack({q, k});
      },
      [=](const Tensors& a) {
        return at::stack({composed(a, 1), composed(a, 3)});
      });
}

OpCase conv_silu_case(const OpSizes& s) {
  RandomTensors random(s);
  const std::int64_t D = s.width();
  const Sizes sizes_BTD{s.batch, s.context, D};
  return row_case(
      conv_silu_kernels(), s, D, {1, 1}, {2, 1}, "x in, y out; x and dy in, dx out; y and dy are fp32",
      {s.activation(random.normal(sizes_BTD, 1)), s.wide(random.normal({D, 1, kConvWidth}, 0.5))}, sizes_BTD,
      [](const Tensors& a) { return conv_silu(a[0], a[1]); },
      [](const Tensors& a) {
        const at::Tensor y_BTD = causal_conv_composed(a[0], a[1], /*bias_D=*/{}, /*window_BWD=*/{});
        return at::silu(y_BTD).to(a[1].scalar_type());
      });
}

}  // namespace ttt
