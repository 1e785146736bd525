#include "ops/rms_norm.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "base/error.h"
#include "kernels/cpu/rows.h"
#include "ops/parallel.h"
#include "ops/row_dispatch.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight_D, double eps) {
    const auto D = x.size(-1), N = x.numel() / D;
    const at::Tensor y = at::empty_like(x), scale_N = at::empty({N}, x.options());
    dispatch_rows(x, [&](auto zero) {
      using T = decltype(zero);
      const T *x_ptr = x.const_data_ptr<T>(), *weight_ptr = weight_D.const_data_ptr<T>();
      T *y_ptr = y.mutable_data_ptr<T>(), *scale_ptr = scale_N.mutable_data_ptr<T>();
      parallel_ranges(N, grain_rows(D), [&](std::int64_t begin, std::int64_t end) {
        rows::rms_norm<T>(end - begin, D, x_ptr + begin * D, weight_ptr, static_cast<T>(eps), y_ptr + begin * D,
                          scale_ptr + begin);
      });
    });
    context->save_for_backward({x, weight_D, scale_N});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight_D = saved[1], &scale_N = saved[2];
    const at::Tensor dy = grads[0].contiguous();
    const auto D = x.size(-1), N = x.numel() / D;
    const auto ranges = range_count(N, grain_rows(D));
    const at::Tensor dx = at::empty_like(x), d_weight_RD = at::zeros({ranges, D}, x.options());
    dispatch_rows(x, [&](auto zero) {
      using T = decltype(zero);
      const T *dy_ptr = dy.const_data_ptr<T>(), *x_ptr = x.const_data_ptr<T>();
      const T *weight_ptr = weight_D.const_data_ptr<T>(), *scale_ptr = scale_N.const_data_ptr<T>();
      T *dx_ptr = dx.mutable_data_ptr<T>(), *d_weight_ptr = d_weight_RD.mutable_data_ptr<T>();
      parallel_numbered_ranges(N, ranges, [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
        rows::rms_norm_backward<T>(end - begin, D, dy_ptr + begin * D, x_ptr + begin * D, weight_ptr, scale_ptr + begin,
                                   dx_ptr + begin * D, d_weight_ptr + i * D);
      });
    });
    return {dx, d_weight_RD.sum(0), at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm_composed(const at::Tensor& x, const at::Tensor& weight_D, double eps) {
  return x * at::rsqrt(x.square().mean(-1, true) + eps) * weight_D;
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight_D, double eps) {
  TTT_CHECK(weight_D.dim() == 1 && x.size(-1) == weight_D.size(0), "x ", x.sizes(), ", weight ", weight_D.sizes());
  if (!rows_take(x)) return rms_norm_composed(x, weight_D, eps);
  return RmsNormFunction::apply(x.contiguous(), weight_D, eps);
}

}  // namespace ttt
