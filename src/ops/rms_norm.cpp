#include "ops/rms_norm.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "base/error.h"
#include "kernels/cpu/rows.h"
#include "kernels/cuda/row_args.h"
#include "ops/cuda_target.h"
#include "ops/cuda_values.h"
#include "ops/parallel.h"
#include "ops/row_dispatch.h"

namespace ttt {
namespace {

namespace cuda = kernels::cuda;

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct FusedRmsNorm {
  static void forward(const at::Tensor& x, const at::Tensor& weight_D, double eps, const at::Tensor& y,
                      const at::Tensor& scale_N) {
    const auto D = x.size(-1), N = x.numel() / D;
    dispatch_rows(y.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const T *x_ptr = values<T>(x), *weight_ptr = values<T>(weight_D);
      S* y_ptr = mutable_values<S>(y);
      T* scale_ptr = mutable_values<T>(scale_N);
      parallel_ranges(N, grain_rows(D), [&](std::int64_t begin, std::int64_t end) {
        rows::rms_norm<T, S>(end - begin, D, x_ptr + begin * D, weight_ptr, static_cast<T>(eps), y_ptr + begin * D,
                             scale_ptr + begin);
      });
    });
  }

  static at::Tensor backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_D,
                             const at::Tensor& scale_N, const at::Tensor& dx) {
    const auto D = x.size(-1), N = x.numel() / D;
    const auto ranges = range_count(N, grain_rows(D));
    const at::Tensor d_weight_RD = at::zeros({ranges, D}, x.options());
    dispatch_rows(dy.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const S* dy_ptr = values<S>(dy);
      const T *x_ptr = values<T>(x), *weight_ptr = values<T>(weight_D), *scale_ptr = values<T>(scale_N);
      T *dx_ptr = mutable_values<T>(dx), *d_weight_ptr = mutable_values<T>(d_weight_RD);
      parallel_numbered_ranges(N, ranges, [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
        rows::rms_norm_backward<T, S>(end - begin, D, dy_ptr + begin * D, x_ptr + begin * D, weight_ptr,
                                      scale_ptr + begin, dx_ptr + begin * D, d_weight_ptr + i * D);
      });
    });
    return d_weight_RD.sum(0);
  }
};

// "Stored" is the type of activations, bf16 or fp32; all else is fp32.
struct CudaRmsNorm {
  // x [...,D] fp32 (+ delta Stored, then x_new gets the sum), weight [D] -> y Stored, scale [N].
  static void forward_of_sum(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight_D, double eps,
                             const at::Tensor& x_new, const at::Tensor& y, const at::Tensor& scale_N) {
    dispatch_elements(y.scalar_type(), [&](auto element) {
      using Element = decltype(element);
      cuda::RmsNormForward<Element> p;
      p.width = x.size(-1), p.rows = x.numel() / p.width;
      p.x = data_of<const float>(x), p.delta = data_of<const Element>(delta);
      p.weight = data_of<const float>(weight_D), p.eps = static_cast<float>(eps);
      p.x_new = data_of<float>(x_new), p.y = data_of<Element>(y), p.scale = data_of<float>(scale_N);
      launch_cuda(x.device(), p);
    });
  }

  // dx (d_delta: the same, Stored); d_residual may be undefined, d_delta too. Returns dweight [D].
  static at::Tensor backward_of_sum(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_D,
                                    const at::Tensor& scale_N, const at::Tensor& d_residual, const at::Tensor& dx,
                                    const at::Tensor& d_delta) {
    const auto D = x.size(-1), N = x.numel() / D;
    const at::Tensor d_weight_RD = at::empty({cuda::row_blocks(N), D}, weight_D.options());
    dispatch_elements(dy.scalar_type(), [&](auto element) {
      using Element = decltype(element);
      cuda::RmsNormBackward<Element> p;
      p.rows = N, p.width = D;
      p.dy = data_of<const Element>(dy), p.x = data_of<const float>(x), p.weight = data_of<const float>(weight_D);
      p.scale = data_of<const float>(scale_N), p.d_residual = data_of<const float>(d_residual);
      p.dx = data_of<float>(dx), p.d_delta = data_of<Element>(d_delta), p.dweight = data_of<float>(d_weight_RD);
      launch_cuda(x.device(), p);
    });
    return d_weight_RD.sum(0);  // of a fixed length: the same bits in every run
  }

  static void forward(const at::Tensor& x, const at::Tensor& weight_D, double eps, const at::Tensor& y,
                      const at::Tensor& scale_N) {
    forward_of_sum(x, {}, weight_D, eps, {}, y, scale_N);
  }
  static at::Tensor backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_D,
                             const at::Tensor& scale_N, const at::Tensor& dx) {
    return backward_of_sum(dy, x, weight_D, scale_N, {}, dx, {});
  }
};

template <class Row>
struct RmsNormFunction : torch::autograd::Function<RmsNormFunction<Row>> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight_D, double eps,
                            at::ScalarType to) {
    const auto N = x.numel() / x.size(-1);
    const at::Tensor y = at::empty(x.sizes(), x.options().dtype(to)), scale_N = at::empty({N}, x.options());
    context->save_for_backward({x, weight_D, scale_N});
    Row::forward(x, weight_D, eps, y, scale_N);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight_D = saved[1], &scale_N = saved[2];
    const at::Tensor dx = at::empty_like(x);
    return {dx, Row::backward(grads[0].contiguous(), x, weight_D, scale_N, dx), at::Tensor(), at::Tensor()};
  }
};

template <class Row>
at::Tensor rms_norm_with(const at::Tensor& x, const at::Tensor& weight_D, double eps,
                         std::optional<at::ScalarType> to) {
  const at::ScalarType type = to.value_or(x.scalar_type());
  return RmsNormFunction<Row>::apply(x.to(wide_type(type)).contiguous(), weight_D, eps, type);
}

// x fp32, delta of the output's type.
struct AddRmsNormFunction : torch::autograd::Function<AddRmsNormFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& delta,
                               const at::Tensor& weight_D, double eps) {
    const auto D = x.size(-1), N = x.numel() / D;
    const at::Tensor sum = at::empty_like(x), y = at::empty_like(delta), scale_N = at::empty({N}, x.options());
    CudaRmsNorm::forward_of_sum(x, delta, weight_D, eps, sum, y, scale_N);
    context->save_for_backward({sum, weight_D, scale_N});
    return {sum, y};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &sum = saved[0], &weight_D = saved[1], &scale_N = saved[2];
    const at::Tensor d_sum = grads[0].contiguous(), dy = grads[1].contiguous();
    const at::Tensor dx = at::empty_like(sum), d_delta = at::empty_like(dy);
    const at::Tensor d_weight_D = CudaRmsNorm::backward_of_sum(dy, sum, weight_D, scale_N, d_sum, dx,
                                                               d_delta.dtype() == dx.dtype() ? at::Tensor() : d_delta);
    return {dx, d_delta.dtype() == dx.dtype() ? dx : d_delta, d_weight_D, at::Tensor()};
  }
};

NormedSum cuda_add_rms_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight_D, double eps) {
  const variable_list both = AddRmsNormFunction::apply(x.contiguous(), delta.contiguous(), weight_D, eps);
  return {both[0], both[1]};
}

struct RmsNormRow {
  at::Tensor (*norm)(const at::Tensor& x, const at::Tensor& weight_D, double eps, std::optional<at::ScalarType> to);
  // x fp32, delta of the output's type. Null: the sum, then its norm.
  NormedSum (*add_and_norm)(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight_D,
                            double eps) = nullptr;
};

const OpKernels<RmsNormRow>& rms_norm_rows() {
  static const OpKernels<RmsNormRow> rows(
      "rms_norm", {{{"cuda", needs_of_cuda_rows()}, {rms_norm_with<CudaRmsNorm>, cuda_add_rms_norm}},
                   {{"fused", needs_of_cpu_rows()}, {rms_norm_with<FusedRmsNorm>}},
                   {{"composed"}, {rms_norm_composed}}});
  return rows;
}

}  // namespace

const KernelTable& rms_norm_kernels() {
  return rms_norm_rows();
}

at::Tensor rms_norm_composed(const at::Tensor& x, const at::Tensor& weight_D, double eps,
                             std::optional<at::ScalarType> to) {
  return (x * at::rsqrt(x.square().mean(-1, true) + eps) * weight_D).to(to.value_or(x.scalar_type()));
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double eps, std::optional<at::ScalarType> to) {
  TTT_CHECK(weight_D.dim() == 1 && x.size(-1) == weight_D.size(0), "x ", x.sizes(), ", weight ", weight_D.sizes());
  return rms_norm_rows()
      .choose({.device = x.device(), .dtype = to.value_or(x.scalar_type())})
      .run.norm(x, weight_D, eps, to);
}

NormedSum add_rms_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight_D, double eps,
                       std::optional<at::ScalarType> to) {
  TTT_CHECK(x.sizes() == delta.sizes() && x.size(-1) == weight_D.size(0), "x ", x.sizes(), ", delta ", delta.sizes());
  const at::ScalarType type = to.value_or(x.scalar_type());
  const RmsNormRow& row = rms_norm_rows().choose({.device = x.device(), .dtype = type}).run;
  if (row.add_and_norm != nullptr && x.scalar_type() == at::kFloat && delta.scalar_type() == type)
    return row.add_and_norm(x, delta, weight_D, eps);
  const at::Tensor sum = x + delta;
  return {sum, row.norm(sum, weight_D, eps, to)};
}

}  // namespace ttt
