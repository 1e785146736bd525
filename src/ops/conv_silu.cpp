#include "ops/conv_silu.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/conv_silu.h"
#include "ops/causal_conv.h"
#include "ops/conv_taps.h"
#include "ops/parallel.h"
#include "ops/row_dispatch.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct ConvSiluFunction : torch::autograd::Function<ConvSiluFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_BTD, const at::Tensor& weight_D1W,
                            const at::Tensor& window_BWD) {
    const auto B = x_BTD.size(0), time = x_BTD.size(1), D = x_BTD.size(2);
    const at::Tensor weight_WD = weight_D1W.squeeze(1).t().contiguous();
    const at::Tensor y_BTD = at::empty(x_BTD.sizes(), weight_WD.options());
    context->save_for_backward({x_BTD, weight_WD, window_BWD});
    dispatch_rows(x_BTD.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const ConvTaps<S> taps{values<S>(x_BTD), values<S>(window_BWD), time, D};
      const T* weight_ptr = values<T>(weight_WD);
      T* y_ptr = mutable_values<T>(y_BTD);
      parallel_ranges(B * time, grain_rows(D), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row)
          rows::conv_silu<T, S>(D, taps(row / time, row % time).data(), weight_ptr, y_ptr + row * D);
      });
    });
    return y_BTD;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x_BTD = saved[0], &weight_WD = saved[1], &window_BWD = saved[2];
    const at::Tensor dy_BTD = grads[0].contiguous();
    const auto B = x_BTD.size(0), time = x_BTD.size(1), D = x_BTD.size(2);
    const at::Tensor dx_BTD = at::empty_like(x_BTD);
    const auto ranges = range_count(B * time, grain_rows(D));
    const at::Tensor d_weight_RWD = at::zeros({ranges, kConvWidth, D}, weight_WD.options());
    dispatch_rows(x_BTD.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const ConvTaps<S> taps{values<S>(x_BTD), values<S>(window_BWD), time, D};
      const T *dy_ptr = values<T>(dy_BTD), *weight_ptr = values<T>(weight_WD);
      S* dx_ptr = mutable_values<S>(dx_BTD);
      T* d_weight_ptr = mutable_values<T>(d_weight_RWD);
      parallel_numbered_ranges(B * time, ranges, [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
        // dz of the tokens t .. t+3 of a sequence, each at its place modulo 4; behind them a row of zeros.
        std::vector<T> ring(static_cast<std::size_t>((kConvWidth + 1) * D));
        const auto place = [&](std::int64_t t) { return ring.data() + t % kConvWidth * D; };
        const T* const zeros = ring.data() + kConvWidth * D;
        std::int64_t next = 0;  // the first token without a dz
        for (std::int64_t row = begin; row < end; ++row) {
          const std::int64_t b = row / time, t = row % time;
          if (row == begin || t == 0) next = t;
          for (; next < std::min(time, t + kConvWidth); ++next)
            rows::conv_silu_gradient<T, S>(D, taps(b, next).data(), weight_ptr, dy_ptr + (b * time + next) * D,
                                           place(next));
          std::array<const T*, kConvWidth> later;  // tap w of the token W-1-w later reads this one
          for (std::int64_t w = 0; w < kConvWidth; ++w) {
            const std::int64_t reader = t + kConvWidth - 1 - w;
            later[static_cast<std::size_t>(w)] = reader < time ? place(reader) : zeros;
          }
          rows::conv_silu_backward<T, S>(D, taps(b, t).data(), later.data(), weight_ptr, dx_ptr + row * D,
                                         d_weight_ptr + i * kConvWidth * D);
        }
      });
    });
    return {dx_BTD, d_weight_RWD.sum(0).t().unsqueeze(1).contiguous(), at::Tensor()};
  }
};

at::Tensor conv_silu_fused(const at::Tensor& x_BTD, const at::Tensor& weight_D1W, const at::Tensor& window_BWD) {
  return ConvSiluFunction::apply(x_BTD.contiguous(), weight_D1W, window_or_zeros(x_BTD, window_BWD));
}

using ConvSiluKernels =
    OpKernels<at::Tensor (*)(const at::Tensor& x_BTD, const at::Tensor& weight_D1W, const at::Tensor& window_BWD)>;

const ConvSiluKernels& conv_silu_rows() {
  static const ConvSiluKernels rows(
      "conv_silu", {{{"fused", needs_of_cpu_rows()}, conv_silu_fused}, {{"composed"}, conv_silu_composed}});
  return rows;
}

}  // namespace

at::Tensor conv_silu_composed(const at::Tensor& x_BTD, const at::Tensor& weight_D1W, const at::Tensor& window_BWD) {
  return at::silu(causal_conv(x_BTD, weight_D1W, /*bias_D=*/{}, window_BWD)).to(weight_D1W.scalar_type());
}

at::Tensor conv_silu(const at::Tensor& x_BTD, const at::Tensor& weight_D1W, const at::Tensor& window_BWD) {
  TTT_CHECK(x_BTD.dim() == 3 && weight_D1W.sizes() == at::IntArrayRef({x_BTD.size(2), 1, kConvWidth}), "x ",
            x_BTD.sizes(), ", weight ", weight_D1W.sizes());
  return conv_silu_rows()
      .choose({.device = x_BTD.device(), .dtype = x_BTD.scalar_type()})
      .run(x_BTD, weight_D1W, window_BWD);
}

const KernelTable& conv_silu_kernels() {
  return conv_silu_rows();
}

}  // namespace ttt
