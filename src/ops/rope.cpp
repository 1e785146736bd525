#include "ops/rope.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "base/error.h"
#include "kernels/cpu/rows.h"
#include "ops/parallel.h"
#include "ops/row_dispatch.h"
#include "ops/sequence_args.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Calls body(zero of the table's type, RowTypes<from, to>) for a rotation between those types.
template <class Body>
void dispatch_rotation(at::ScalarType from, at::ScalarType to, const Body& body) {
  using kernels::BFloat16;
  if (from == at::kDouble) {
    TTT_CHECK(to == at::kDouble, "fp64 rotated to ", to);
    body(double(), RowTypes<double, double>());
  } else if (from == at::kFloat) {
    if (to == at::kFloat) return body(float(), RowTypes<float, float>());
    body(float(), RowTypes<float, BFloat16>());
  } else {
    if (to == at::kFloat) return body(float(), RowTypes<BFloat16, float>());
    body(float(), RowTypes<BFloat16, BFloat16>());
  }
}

// direction 1: x [B,T,H*K] -> y [B,H,T,K] rotated; direction -1: the transpose of that map, y [B,H,T,K] -> x [B,T,H*K].
void rotate_heads(const at::Tensor& from, const at::Tensor& to, std::int64_t B, std::int64_t T, std::int64_t H,
                  std::int64_t K, const RopeTable& table, std::int64_t offset, int direction) {
  const auto P = table.positions();
  const at::Tensor& heads_BHTK = direction > 0 ? to : from;
  const std::int64_t of_b = heads_BHTK.stride(0), of_h = heads_BHTK.stride(1), of_t = heads_BHTK.stride(2);
  dispatch_rotation(from.scalar_type(), to.scalar_type(), [&](auto table_type, auto types) {
    using Value = decltype(table_type);
    using From = typename decltype(types)::T;
    using To = typename decltype(types)::S;
    const Value *cos_ptr = values<Value>(table.cos_PK), *sin_ptr = values<Value>(table.sin_PK);
    const From* from_ptr = values<From>(from);
    To* to_ptr = mutable_values<To>(to);
    parallel_ranges(B * T, grain_rows(H * K), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t b = row / T, t = row % T, place = (offset + t) % P * K;
        for (std::int64_t h = 0; h < H; ++h) {
          const std::int64_t merged = (row * H + h) * K, split = b * of_b + h * of_h + t * of_t;
          rows::rotate<Value, From, To>(K, from_ptr + (direction > 0 ? merged : split), cos_ptr + place,
                                        sin_ptr + place, static_cast<Value>(direction),
                                        to_ptr + (direction > 0 ? split : merged));
        }
      }
    });
  });
}

struct FusedRope {
  static void forward(const at::Tensor& x_BTD, const RopeTable& table, std::int64_t offset, const at::Tensor& y_BHTK) {
    rotate_heads(x_BTD, y_BHTK, y_BHTK.size(0), y_BHTK.size(2), y_BHTK.size(1), y_BHTK.size(3), table, offset, 1);
  }
  static void backward(const at::Tensor& dy_BHTK, const RopeTable& table, std::int64_t offset,
                       const at::Tensor& dx_BTD) {
    rotate_heads(dy_BHTK, dx_BTD, dy_BHTK.size(0), dy_BHTK.size(2), dy_BHTK.size(1), dy_BHTK.size(3), table, offset,
                 -1);
  }
};

struct CudaRope {
  template <class Arguments>
  static void set_sizes(Arguments& p, const at::Tensor& heads_BHTK, const RopeTable& table, std::int64_t offset) {
    p.sequences = heads_BHTK.size(0), p.heads = static_cast<int>(heads_BHTK.size(1)), p.time = heads_BHTK.size(2);
    p.head_dim = static_cast<int>(heads_BHTK.size(3)), p.table = on_cuda::rope_rows(table, offset);
  }

  // Stored -> Stored or fp32; and the inverse rotation of dy.
  static void forward(const at::Tensor& x_BTD, const RopeTable& table, std::int64_t offset, const at::Tensor& y_BHTK) {
    on_cuda::dispatch_rotation(x_BTD, y_BHTK, [&](auto element, auto to) {
      using Element = decltype(element);
      using To = decltype(to);
      kernels::cuda::RopeForward<Element, To> p;
      set_sizes(p, y_BHTK, table, offset);
      p.x = on_cuda::sequence_rows<const Element>(x_BTD), p.y = head_rows<To>(y_BHTK);
      launch_cuda(x_BTD.device(), p);
    });
  }
  static void backward(const at::Tensor& dy_BHTK, const RopeTable& table, std::int64_t offset,
                       const at::Tensor& dx_BTD) {
    on_cuda::dispatch_rotation(dx_BTD, dy_BHTK, [&](auto element, auto to) {
      using Element = decltype(element);
      using To = decltype(to);
      kernels::cuda::RopeBackward<Element, To> p;
      set_sizes(p, dy_BHTK, table, offset);
      p.dy = head_rows<const To>(dy_BHTK), p.dx = on_cuda::sequence_rows<Element>(dx_BTD);
      launch_cuda(dx_BTD.device(), p);
    });
  }
};

template <class Row>
struct RopeFunction : torch::autograd::Function<RopeFunction<Row>> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_BTD, std::int64_t H, const at::Tensor& cos_PK,
                            const at::Tensor& sin_PK, std::int64_t offset, at::ScalarType to) {
    const auto B = x_BTD.size(0), T = x_BTD.size(1), K = x_BTD.size(2) / H;
    const at::Tensor y_BHTK = at::empty({B, H, T, K}, x_BTD.options().dtype(to));
    context->saved_data["type"] = static_cast<std::int64_t>(x_BTD.scalar_type());
    Row::forward(x_BTD, {cos_PK, sin_PK}, offset, y_BHTK);
    context->save_for_backward({cos_PK, sin_PK});
    context->saved_data["offset"] = offset;
    return y_BHTK;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor dy_BHTK = grads[0].stride(3) == 1 ? grads[0] : grads[0].contiguous();
    const auto B = dy_BHTK.size(0), H = dy_BHTK.size(1), T = dy_BHTK.size(2), K = dy_BHTK.size(3);
    const auto type = static_cast<at::ScalarType>(context->saved_data["type"].toInt());
    const at::Tensor dx_BTD = at::empty({B, T, H * K}, dy_BHTK.options().dtype(type));
    Row::backward(dy_BHTK, {saved[0], saved[1]}, context->saved_data["offset"].toInt(), dx_BTD);
    return {dx_BTD, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

template <class Row>
at::Tensor rope_with(const at::Tensor& x_BTD, std::int64_t num_heads, const RopeTable& table, std::int64_t offset,
                     std::optional<at::ScalarType> to) {
  return RopeFunction<Row>::apply(x_BTD.contiguous(), num_heads, table.cos_PK, table.sin_PK, offset,
                                  to.value_or(x_BTD.scalar_type()));
}

using RopeKernels = OpKernels<at::Tensor (*)(const at::Tensor& x_BTD, std::int64_t num_heads, const RopeTable& table,
                                             std::int64_t offset, std::optional<at::ScalarType> to)>;

const RopeKernels& rope_kernel_rows() {
  static const RopeKernels rows("rope", {{{"cuda", needs_of_cuda_rows()}, rope_with<CudaRope>},
                                         {{"fused", needs_of_cpu_rows()}, rope_with<FusedRope>},
                                         {{"composed"}, rope_split_heads_composed}});
  return rows;
}

}  // namespace

RopeTable make_rope_table(std::int64_t positions, std::int64_t head_dim, double theta,
                          const at::TensorOptions& options) {
  TTT_CHECK(head_dim % 2 == 0, "head size ", head_dim);
  const auto f64 = at::TensorOptions().dtype(at::kDouble);
  const at::Tensor frequency_F = at::pow(theta, at::arange(0, head_dim, 2, f64) / -static_cast<double>(head_dim));
  const at::Tensor angle_PF = at::outer(at::arange(positions, f64), frequency_F);
  const at::Tensor cos_PF = angle_PF.cos(), sin_PF = angle_PF.sin();
  const auto wide = options.dtype(wide_type(c10::typeMetaToScalarType(options.dtype())));
  return {at::stack({cos_PF, cos_PF}, -1).flatten(1).to(wide), at::stack({-sin_PF, sin_PF}, -1).flatten(1).to(wide)};
}

at::Tensor rope_split_heads_composed(const at::Tensor& x_BTD, std::int64_t num_heads, const RopeTable& table,
                                     std::int64_t offset, std::optional<at::ScalarType> to) {
  const auto B = x_BTD.size(0), T = x_BTD.size(1), K = x_BTD.size(2) / num_heads;
  const at::Tensor rows_T =
      at::arange(offset, offset + T, x_BTD.options().dtype(at::kLong)).remainder(table.positions());
  const at::Tensor x_BHTK = x_BTD.reshape({B, T, num_heads, K}).transpose(1, 2);
  const at::Tensor swapped_BHTK = x_BHTK.unflatten(-1, {K / 2, 2}).flip(-1).flatten(-2);
  return (x_BHTK * table.cos_PK.index_select(0, rows_T) + swapped_BHTK * table.sin_PK.index_select(0, rows_T))
      .contiguous()
      .to(to.value_or(x_BTD.scalar_type()));
}

at::Tensor rope_split_heads(const at::Tensor& x_BTD, std::int64_t num_heads, const RopeTable& table,
                            std::int64_t offset, std::optional<at::ScalarType> to) {
  TTT_CHECK(x_BTD.dim() == 3 && x_BTD.size(2) == num_heads * table.cos_PK.size(1), "x ", x_BTD.sizes(), ", ", num_heads,
            " heads, table ", table.cos_PK.sizes());
  return rope_kernel_rows()
      .choose({.device = x_BTD.device(), .dtype = x_BTD.scalar_type()})
      .run(x_BTD, num_heads, table, offset, to);
}

const KernelTable& rope_kernels() {
  return rope_kernel_rows();
}

at::Tensor split_heads(const at::Tensor& x_BTD, std::int64_t num_heads) {
  const auto B = x_BTD.size(0), T = x_BTD.size(1), K = x_BTD.size(2) / num_heads;
  return x_BTD.view({B, T, num_heads, K}).transpose(1, 2);
}

}  // namespace ttt
