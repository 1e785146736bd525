#include "ops/causal_conv.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <array>

#include "base/error.h"
#include "kernels/cpu/rows.h"
#include "ops/conv_taps.h"
#include "ops/parallel.h"
#include "ops/row_dispatch.h"
#include "ops/sequence_args.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor bias_or_zeros(const at::Tensor& weight_D1W, const at::Tensor& bias_D) {
  return bias_D.defined() ? bias_D : at::zeros({weight_D1W.size(0)}, weight_D1W.options().requires_grad(false));
}

struct FusedCausalConv {
  static void forward(const at::Tensor& x_BTD, const at::Tensor& weight_WD, const at::Tensor& bias_D,
                      const at::Tensor& window_BWD, const at::Tensor& y_BTD) {
    const auto B = x_BTD.size(0), time = x_BTD.size(1), D = x_BTD.size(2);
    dispatch_rows(x_BTD.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const ConvTaps<S> taps{values<S>(x_BTD), values<S>(window_BWD), time, D};
      const T *weight_ptr = values<T>(weight_WD), *bias_ptr = values<T>(bias_D);
      S* y_ptr = mutable_values<S>(y_BTD);
      parallel_ranges(B * time, grain_rows(D), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row)
          rows::conv<T, S>(D, taps(row / time, row % time).data(), weight_ptr, bias_ptr, y_ptr + row * D);
      });
    });
  }

  static on_cuda::ConvParameters backward(const at::Tensor& dy_BTD, const at::Tensor& x_BTD,
                                          const at::Tensor& weight_WD, const at::Tensor& window_BWD,
                                          const at::Tensor& dx_BTD) {
    const auto B = x_BTD.size(0), time = x_BTD.size(1), D = x_BTD.size(2);
    const auto ranges = range_count(B * time, grain_rows(D));
    const at::Tensor zeros_D = at::zeros({D}, x_BTD.options());
    const at::Tensor d_weight_RWD = at::zeros({ranges, kConvWidth, D}, weight_WD.options());
    const at::Tensor d_bias_RD = at::zeros({ranges, D}, weight_WD.options());
    dispatch_rows(x_BTD.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const ConvTaps<S> taps{values<S>(x_BTD), values<S>(window_BWD), time, D};
      const S *dy_ptr = values<S>(dy_BTD), *zeros_ptr = values<S>(zeros_D);
      const T* weight_ptr = values<T>(weight_WD);
      S* dx_ptr = mutable_values<S>(dx_BTD);
      T *d_weight_ptr = mutable_values<T>(d_weight_RWD), *d_bias_ptr = mutable_values<T>(d_bias_RD);
      parallel_numbered_ranges(B * time, ranges, [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
          const std::int64_t t = row % time;
          std::array<const S*, kConvWidth> later;  // tap w of the token W-1-w later reads this one
          for (std::int64_t w = 0; w < kConvWidth; ++w) {
            const std::int64_t ahead = kConvBefore - w;
            later[static_cast<std::size_t>(w)] = t + ahead < time ? dy_ptr + (row + ahead) * D : zeros_ptr;
          }
          rows::conv_backward<T, S>(D, taps(row / time, t).data(), later.data(), dy_ptr + row * D, weight_ptr,
                                    dx_ptr + row * D, d_weight_ptr + i * kConvWidth * D, d_bias_ptr + i * D);
        }
      });
    });
    return {d_weight_RWD.sum(0), d_bias_RD.sum(0)};
  }
};

struct CudaCausalConv {
  static void forward(const at::Tensor& x_BTD, const at::Tensor& weight_WD, const at::Tensor& bias_D,
                      const at::Tensor& window_BWD, const at::Tensor& y_BTD) {
    dispatch_elements(x_BTD.scalar_type(), [&](auto element) {
      using Element = decltype(element);
      launch_cuda(x_BTD.device(),
                  kernels::cuda::CausalConvForward<Element>{on_cuda::conv_inputs<Element>(x_BTD, window_BWD),
                                                            on_cuda::weights_of({weight_WD, bias_D}),
                                                            on_cuda::sequence_rows<Element>(y_BTD)});
    });
  }

  static on_cuda::ConvParameters backward(const at::Tensor& dy_BTD, const at::Tensor& x_BTD,
                                          const at::Tensor& weight_WD, const at::Tensor& window_BWD,
                                          const at::Tensor& dx_BTD) {
    on_cuda::ConvParameters sums;
    dispatch_elements(x_BTD.scalar_type(), [&](auto element) {
      using Element = decltype(element);
      kernels::cuda::CausalConvBackward<Element> p;
      p.in = on_cuda::conv_inputs<Element>(x_BTD, window_BWD);
      const on_cuda::ConvParts parts(p.in.parts(), weight_WD);
      p.weight = data_of<const float>(weight_WD);
      p.dy = on_cuda::sequence_rows<const Element>(dy_BTD), p.dx = on_cuda::sequence_rows<Element>(dx_BTD);
      p.conv = parts.pointers();
      launch_cuda(x_BTD.device(), p);
      sums = parts.sum();
    });
    return sums;
  }
};

template <class Row>
struct CausalConvFunction : torch::autograd::Function<CausalConvFunction<Row>> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_BTD, const at::Tensor& weight_D1W,
                            const at::Tensor& bias_D, const at::Tensor& window_BWD) {
    const at::Tensor weight_WD = weight_D1W.squeeze(1).t().contiguous();
    const at::Tensor y_BTD = at::empty_like(x_BTD);
    context->save_for_backward({x_BTD, weight_WD, window_BWD});
    Row::forward(x_BTD, weight_WD, bias_D, window_BWD, y_BTD);
    return y_BTD;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& x_BTD = saved[0];
    const at::Tensor dx_BTD = at::empty_like(x_BTD);
    const auto d = Row::backward(grads[0].contiguous(), x_BTD, saved[1], saved[2], dx_BTD);
    return {dx_BTD, d.weight_WD.t().unsqueeze(1).contiguous(), d.bias_D, at::Tensor()};
  }
};

template <class Row>
at::Tensor causal_conv_with(const at::Tensor& x_BTD, const at::Tensor& weight_D1W, const at::Tensor& bias_D,
                            const at::Tensor& window_BWD) {
  return CausalConvFunction<Row>::apply(x_BTD.contiguous(), weight_D1W, bias_D, window_or_zeros(x_BTD, window_BWD));
}

using CausalConvKernels = OpKernels<at::Tensor (*)(const at::Tensor& x_BTD, const at::Tensor& weight_D1W,
                                                   const at::Tensor& bias_D, const at::Tensor& window_BWD)>;

const CausalConvKernels& causal_conv_rows() {
  static const CausalConvKernels rows("causal_conv",
                                      {{{"cuda", needs_of_cuda_rows()}, causal_conv_with<CudaCausalConv>},
                                       {{"fused", needs_of_cpu_rows()}, causal_conv_with<FusedCausalConv>},
                                       {{"composed"}, causal_conv_composed}});
  return rows;
}

}  // namespace

at::Tensor causal_conv_composed(const at::Tensor& x_BTD, const at::Tensor& weight_D1W, const at::Tensor& bias,
                                const at::Tensor& window_BWD) {
  const at::Tensor bias_D = bias_or_zeros(weight_D1W, bias);
  const auto T = x_BTD.size(1);
  const at::Tensor padded = at::cat({window_or_zeros(x_BTD, window_BWD), x_BTD}, 1);
  at::Tensor y_BTD = bias_D;
  for (std::int64_t w = 0; w < kConvWidth; ++w)
    y_BTD = y_BTD + padded.narrow(1, w, T) * weight_D1W.select(2, w).squeeze(1);
  return y_BTD.to(x_BTD.scalar_type());
}

at::Tensor causal_conv(const at::Tensor& x_BTD, const at::Tensor& weight_D1W, const at::Tensor& bias_D,
                       const at::Tensor& window_BWD) {
  TTT_CHECK(x_BTD.dim() == 3 && weight_D1W.sizes() == at::IntArrayRef({x_BTD.size(2), 1, kConvWidth}), "x ",
            x_BTD.sizes(), ", weight ", weight_D1W.sizes());
  return causal_conv_rows()
      .choose({.device = x_BTD.device(), .dtype = x_BTD.scalar_type()})
      .run(x_BTD, weight_D1W, bias_or_zeros(weight_D1W, bias_D), window_BWD);
}

const KernelTable& causal_conv_kernels() {
  return causal_conv_rows();
}

at::Tensor next_conv_window(const at::Tensor& x_BTD, const at::Tensor& window_BWD) {
  const auto T = x_BTD.size(1);
  if (T >= kConvBefore) return x_BTD.detach().narrow(1, T - kConvBefore, kConvBefore).clone();
  return at::cat({window_BWD.narrow(1, T, kConvBefore - T).to(x_BTD.scalar_type()), x_BTD.detach()}, 1);
}

}  // namespace ttt
