#include "ops/conv_silu.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
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
        for (std::int64_t row = begin, count; row < end; row += count) {
          const std::int64_t b = row / time, t = row % time;
          count = std::min({rows::kConvTokens, time - t, end - row});
          rows::conv_silu<T, S>(D, count, taps.template of_tokens<rows::kConvTokens>(b, t).data(), weight_ptr,
                                y_ptr + row * D);
        }
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
        // From the last token to the first. dz of the three tokens behind those at hand; after a sequence's last:
        // zeros.
        std::vector<T> later(static_cast<std::size_t>(kConvBefore * D));
        for (std::int64_t row = end; row > begin;) {
          const std::int64_t b = (row - 1) / time, behind = row - b * time;  // the first token behind
          if (behind == time) {
            std::fill(later.begin(), later.end(), T(0));
          } else if (row == end) {
            for (std::int64_t l = 0; l < std::min(kConvBefore, time - behind); ++l)
              rows::conv_silu_gradient<T, S>(D, taps(b, behind + l).data(), weight_ptr, dy_ptr + (row + l) * D,
                                             later.data() + l * D);
          }
          const std::int64_t count = std::min({rows::kConvTokens, behind, row - begin}), t = behind - count;
          row -= count;
          rows::conv_silu_backward<T, S>(D, count, taps.template of_tokens<rows::kConvTokens>(b, t).data(), weight_ptr,
                                         dy_ptr + row * D, later.data(), dx_ptr + row * D,
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
