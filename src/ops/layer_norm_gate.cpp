#include "ops/layer_norm_gate.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <optional>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/rows.h"
#include "ops/parallel.h"
#include "ops/row_dispatch.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct LayerNormGateFunction : torch::autograd::Function<LayerNormGateFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& o_BHTK, const at::Tensor& weight_D,
                            const at::Tensor& bias_D, const std::optional<at::Tensor>& optional_gate_BTD) {
    const at::Tensor gate_BTD = optional_gate_BTD.value_or(at::Tensor());
    const auto B = o_BHTK.size(0), H = o_BHTK.size(1), time = o_BHTK.size(2), K = o_BHTK.size(3), D = H * K;
    const at::Tensor y_BTD = at::empty({B, time, D}, o_BHTK.options());
    const at::Tensor mean_N = at::empty({B * time}, o_BHTK.options()), scale_N = at::empty_like(mean_N);
    dispatch_rows(o_BHTK, [&](auto zero) {
      using T = decltype(zero);
      const T *o_ptr = o_BHTK.const_data_ptr<T>(), *weight_ptr = weight_D.const_data_ptr<T>();
      const T *bias_ptr = bias_D.const_data_ptr<T>(),
              *gate_ptr = gate_BTD.defined() ? gate_BTD.const_data_ptr<T>() : nullptr;
      T *y_ptr = y_BTD.mutable_data_ptr<T>(), *mean_ptr = mean_N.mutable_data_ptr<T>(),
        *scale_ptr = scale_N.mutable_data_ptr<T>();
      parallel_ranges(B * time, grain_rows(4 * D), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row)
          rows::layer_norm_gate<T>(H, K, time * K, o_ptr + (row / time * H * time + row % time) * K, weight_ptr,
                                   bias_ptr, gate_ptr != nullptr ? gate_ptr + row * D : nullptr,
                                   static_cast<T>(kPostNormEps), y_ptr + row * D, mean_ptr + row, scale_ptr + row);
      });
    });
    context->save_for_backward({o_BHTK, weight_D, bias_D, gate_BTD, mean_N, scale_N});
    return y_BTD;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &o_BHTK = saved[0], &weight_D = saved[1], &bias_D = saved[2], &gate_BTD = saved[3];
    const at::Tensor &mean_N = saved[4], &scale_N = saved[5];
    const at::Tensor dy_BTD = grads[0].contiguous();
    const auto B = o_BHTK.size(0), H = o_BHTK.size(1), time = o_BHTK.size(2), K = o_BHTK.size(3), D = H * K;
    const auto ranges = range_count(B * time, grain_rows(4 * D));
    const at::Tensor d_o_BHTK = at::empty_like(o_BHTK), d_weight_RD = at::zeros({ranges, D}, o_BHTK.options());
    const at::Tensor d_bias_RD = at::zeros_like(d_weight_RD);
    const at::Tensor d_gate_BTD = gate_BTD.defined() ? at::empty_like(gate_BTD) : at::Tensor();
    dispatch_rows(o_BHTK, [&](auto zero) {
      using T = decltype(zero);
      const T *dy_ptr = dy_BTD.const_data_ptr<T>(), *o_ptr = o_BHTK.const_data_ptr<T>();
      const T *weight_ptr = weight_D.const_data_ptr<T>(), *bias_ptr = bias_D.const_data_ptr<T>();
      const T *mean_ptr = mean_N.const_data_ptr<T>(), *scale_ptr = scale_N.const_data_ptr<T>();
      const T* gate_ptr = gate_BTD.defined() ? gate_BTD.const_data_ptr<T>() : nullptr;
      T *d_o_ptr = d_o_BHTK.mutable_data_ptr<T>(), *d_weight_ptr = d_weight_RD.mutable_data_ptr<T>();
      T* d_bias_ptr = d_bias_RD.mutable_data_ptr<T>();
      T* d_gate_ptr = d_gate_BTD.defined() ? d_gate_BTD.mutable_data_ptr<T>() : nullptr;
      parallel_numbered_ranges(B * time, ranges, [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
        std::vector<T> scratch(static_cast<std::size_t>(2 * D));
        for (std::int64_t row = begin; row < end; ++row) {
          const std::int64_t place = (row / time * H * time + row % time) * K;
          rows::layer_norm_gate_backward<T>(H, K, time * K, dy_ptr + row * D, o_ptr + place, weight_ptr, bias_ptr,
                                            gate_ptr != nullptr ? gate_ptr + row * D : nullptr, mean_ptr[row],
                                            scale_ptr[row], d_o_ptr + place,
                                            d_gate_ptr != nullptr ? d_gate_ptr + row * D : nullptr,
                                            d_weight_ptr + i * D, d_bias_ptr + i * D, scratch.data());
        }
      });
    });
    return {d_o_BHTK, d_weight_RD.sum(0), d_bias_RD.sum(0), d_gate_BTD};
  }
};

}  // namespace

at::Tensor layer_norm_gate_composed(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                                    const at::Tensor& gate_BTD) {
  const auto B = o_BHTK.size(0), H = o_BHTK.size(1), T = o_BHTK.size(2), K = o_BHTK.size(3);
  const at::Tensor merged = o_BHTK.transpose(1, 2).reshape({B, T, H * K});
  const at::Tensor normed = at::layer_norm(merged, {H * K}, weight_D, bias_D, kPostNormEps);
  return gate_BTD.defined() ? at::gelu(gate_BTD, "tanh") * normed : normed;
}

at::Tensor layer_norm_gate(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                           const at::Tensor& gate_BTD) {
  TTT_CHECK(o_BHTK.dim() == 4 && o_BHTK.size(1) * o_BHTK.size(3) == weight_D.size(0), "o ", o_BHTK.sizes(), ", weight ",
            weight_D.sizes());
  if (!rows_take(o_BHTK)) return layer_norm_gate_composed(o_BHTK, weight_D, bias_D, gate_BTD);
  std::optional<at::Tensor> gate;
  if (gate_BTD.defined()) gate = gate_BTD.contiguous();
  return LayerNormGateFunction::apply(o_BHTK.contiguous(), weight_D, bias_D, gate);
}

}  // namespace ttt
