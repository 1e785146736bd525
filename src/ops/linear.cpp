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

at::Tensor linear_of_one_row(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor w = weight.to(x.scalar_type());
  auto sizes = x.sizes().vec();
  sizes.back() = w.size(0);
  const at::Tensor y = matrix_vector(w, x.reshape({-1})).view(sizes);
  return bias.defined() ? y + bias.to(x.scalar_type()) : y;
}

at::Tensor linear_of_libtorch(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x, weight.to(x.scalar_type()),
                    bias.defined() ? std::optional(bias.to(x.scalar_type())) : std::nullopt);
}

bool linear_through_fp32(at::Device device) {
  return device.is_cpu() && bf16_products() == Bf16Products::kFp32Panels;
}

using LinearKernels = OpKernels<at::Tensor (*)(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias)>;

const LinearKernels& linear_rows() {
  static const LinearKernels rows(
      "linear",
      {{{"matrix_vector",
         {.place = KernelPlace::kCpu, .dtypes = {at::kFloat, at::kDouble, at::kBFloat16}, .one_row = true}},
        linear_of_one_row},
       {{"libtorch", {.native_bf16 = true}}, linear_of_libtorch},
       {{"fp32_panels", {.place = KernelPlace::kCpu, .dtypes = {at::kBFloat16}}}, linear_through_panels}},
      {.bf16_through_fp32 = linear_through_fp32});
  return rows;
}

}  // namespace

at::Tensor linear_layer(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  TTT_CHECK(weight.dim() == 2 && x.size(-1) == weight.size(1), "x ", x.sizes(), ", weight ", weight.sizes());
  const bool differentiable = at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad());
  return linear_rows()
      .choose({.device = x.device(),
               .dtype = x.scalar_type(),
               .bf16_through_fp32 = x.scalar_type() == at::kBFloat16 && linear_through_fp32(x.device()),
               .one_row = x.numel() == x.size(-1) && pass_of(differentiable) != KernelPass::kTraining &&
                          weight.is_contiguous()})
      .run(x, weight, bias);
}

const KernelTable& linear_kernels() {
  return linear_rows();
}

}  // namespace ttt
