#include "ops/linear.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "kernels/cpu/rows.h"
#include "ops/parallel.h"
#include "ops/products.h"
#include "ops/row_dispatch.h"

namespace ttt {
namespace {

// w x for w [out, in], x [in].
at::Tensor matrix_vector(const at::Tensor& w, const at::Tensor& x) {
  const auto out = w.size(0), in = w.size(1);
  const at::Tensor y = at::empty({out}, x.options());
  dispatch_rows(x.scalar_type(), [&](auto types) {
    using T = typename decltype(types)::T;
    using S = typename decltype(types)::S;
    const S *w_ptr = values<S>(w), *x_ptr = values<S>(x);
    S* y_ptr = mutable_values<S>(y);
    parallel_ranges(out, std::max<std::int64_t>(4, grain_rows(in)), [&](std::int64_t begin, std::int64_t end) {
      rows::matrix_vector<T, S>(end - begin, in, w_ptr + begin * in, x_ptr, y_ptr + begin);
    });
  });
  return y;
}

}  // namespace

at::Tensor linear_layer(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  TTT_CHECK(weight.dim() == 2 && x.size(-1) == weight.size(1), "x ", x.sizes(), ", weight ", weight.sizes());
  const bool differentiable = at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad());
  const bool one_row = x.numel() == x.size(-1) && !differentiable && rows_take(x) && weight.is_contiguous();
  if (!one_row && through_fp32_panels(x)) return linear_through_panels(x, weight, bias);
  const at::Tensor w = weight.to(x.scalar_type()), b = bias.defined() ? bias.to(x.scalar_type()) : bias;
  if (!one_row) return at::linear(x, w, b.defined() ? std::optional(b) : std::nullopt);
  auto sizes = x.sizes().vec();
  sizes.back() = w.size(0);
  const at::Tensor y = matrix_vector(w, x.reshape({-1})).view(sizes);
  return b.defined() ? y + b : y;
}

}  // namespace ttt
