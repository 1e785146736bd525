#include "ops/rms_norm.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "base/error.h"
#include "kernels/cpu/rows.h"
#include "ops/parallel.h"
#include "ops/row_cuda.h"
#include "ops/row_dispatch.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight_D, double eps,
                            at::ScalarType to) {
    const auto D = x.size(-1), N = x.numel() / D;
    const at::Tensor y = at::empty(x.sizes(), x.options().dtype(to)), scale_N = at::empty({N}, x.options());
    context->save_for_backward({x, weight_D, scale_N});
    if (cuda_takes(x, to)) {
      on_cuda::rms_norm(x, {}, weight_D, eps, {}, y, scale_N);
      return y;
    }
    dispatch_rows(to, [&](auto types) {
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
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight_D = saved[1], &scale_N = saved[2];
    const at::Tensor dy = grads[0].contiguous();
    const auto D = x.size(-1), N = x.numel() / D;
    const at::Tensor dx = at::empty_like(x);
    if (cuda_takes(x, dy.scalar_type()))
      return {dx, on_cuda::rms_norm_backward(dy, x, weight_D, scale_N, {}, dx, {}), at::Tensor(), at::Tensor()};
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
    return {dx, d_weight_RD.sum(0), at::Tensor(), at::Tensor()};
  }
};

// On a GPU: x fp32, delta of the output's type.
struct AddRmsNormFunction : torch::autograd::Function<AddRmsNormFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& delta,
                               const at::Tensor& weight_D, double eps) {
    const auto D = x.size(-1), N = x.numel() / D;
    const at::Tensor sum = at::empty_like(x), y = at::empty_like(delta), scale_N = at::empty({N}, x.options());
    on_cuda::rms_norm(x, delta, weight_D, eps, sum, y, scale_N);
    context->save_for_backward({sum, weight_D, scale_N});
    return {sum, y};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &sum = saved[0], &weight_D = saved[1], &scale_N = saved[2];
    const at::Tensor d_sum = grads[0].contiguous(), dy = grads[1].contiguous();
    const at::Tensor dx = at::empty_like(sum), d_delta = at::empty_like(dy);
    const at::Tensor d_weight_D = on_cuda::rms_norm_backward(dy, sum, weight_D, scale_N, d_sum, dx,
                                                             d_delta.dtype() == dx.dtype() ? at::Tensor() : d_delta);
    return {dx, d_delta.dtype() == dx.dtype() ? dx : d_delta, d_weight_D, at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm_composed(const at::Tensor& x, const at::Tensor& weight_D, double eps,
                             std::optional<at::ScalarType> to) {
  return (x * at::rsqrt(x.square().mean(-1, true) + eps) * weight_D).to(to.value_or(x.scalar_type()));
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double eps, std::optional<at::ScalarType> to) {
  TTT_CHECK(weight_D.dim() == 1 && x.size(-1) == weight_D.size(0), "x ", x.sizes(), ", weight ", weight_D.sizes());
  const at::ScalarType type = to.value_or(x.scalar_type());
  if (!rows_take(x, type) && !cuda_takes(x, type)) return rms_norm_composed(x, weight_D, eps, to);
  return RmsNormFunction::apply(x.to(wide_type(type)).contiguous(), weight_D, eps, type);
}

NormedSum add_rms_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight_D, double eps,
                       std::optional<at::ScalarType> to) {
  TTT_CHECK(x.sizes() == delta.sizes() && x.size(-1) == weight_D.size(0), "x ", x.sizes(), ", delta ", delta.sizes());
  const at::ScalarType type = to.value_or(x.scalar_type());
  if (x.scalar_type() != at::kFloat || delta.scalar_type() != type || !cuda_takes(x, type)) {
    const at::Tensor sum = x + delta;
    return {sum, rms_norm(sum, weight_D, eps, to)};
  }
  const variable_list both = AddRmsNormFunction::apply(x.contiguous(), delta.contiguous(), weight_D, eps);
  return {both[0], both[1]};
}

}  // namespace ttt
