#include "ops/layer_norm_gate.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <optional>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/rows.h"
#include "kernels/cuda/row_args.h"
#include "ops/cuda_target.h"
#include "ops/cuda_values.h"
#include "ops/parallel.h"
#include "ops/row_dispatch.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Where the values of token `row` (of B*T) lie in o [B,H,T,K], whose K values of a head lie together.
struct Places {
  std::int64_t time, sequence, head, token;
  explicit Places(const at::Tensor& o_BHTK)
      : time(o_BHTK.size(2)), sequence(o_BHTK.stride(0)), head(o_BHTK.stride(1)), token(o_BHTK.stride(2)) {}
  std::int64_t of_row(std::int64_t row) const { return row / time * sequence + row % time * token; }
};

// o in memory of [B,H,T,K] or of [B,T,H,K], as TTT kernels write it.
at::Tensor dense_heads(const at::Tensor& o_BHTK) {
  return o_BHTK.transpose(1, 2).is_contiguous() ? o_BHTK : o_BHTK.contiguous();
}

// What the backward pass gives beside gradients that are as large as the activations.
struct NormGradients {
  at::Tensor weight_D, bias_D;
};

struct FusedLayerNormGate {
  static at::Tensor prepared(const at::Tensor& o_BHTK, at::ScalarType to) { return o_BHTK.to(wide_type(to)); }

  static void forward(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                      const at::Tensor& gate_BTD, const at::Tensor& y_BTD, const at::Tensor& mean_N,
                      const at::Tensor& scale_N) {
    const auto H = o_BHTK.size(1), K = o_BHTK.size(3), D = H * K;
    const Places places(o_BHTK);
    dispatch_rows(y_BTD.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const T *o_ptr = values<T>(o_BHTK), *weight_ptr = values<T>(weight_D), *bias_ptr = values<T>(bias_D);
      const S* gate_ptr = values<S>(gate_BTD);
      S* y_ptr = mutable_values<S>(y_BTD);
      T *mean_ptr = mutable_values<T>(mean_N), *scale_ptr = mutable_values<T>(scale_N);
      parallel_ranges(mean_N.numel(), grain_rows(4 * D), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row)
          rows::layer_norm_gate<T, S>(H, K, places.head, o_ptr + places.of_row(row), weight_ptr, bias_ptr,
                                      gate_ptr != nullptr ? gate_ptr + row * D : nullptr, static_cast<T>(kPostNormEps),
                                      y_ptr + row * D, mean_ptr + row, scale_ptr + row);
      });
    });
  }

  static NormGradients backward(const at::Tensor& dy_BTD, const at::Tensor& o_BHTK, const at::Tensor& weight_D,
                                const at::Tensor& bias_D, const at::Tensor& gate_BTD, const at::Tensor& mean_N,
                                const at::Tensor& scale_N, const at::Tensor& d_o_BHTK, const at::Tensor& d_gate_BTD) {
    const auto H = o_BHTK.size(1), K = o_BHTK.size(3), D = H * K, N = mean_N.numel();
    const Places places(o_BHTK);
    const auto ranges = range_count(N, grain_rows(4 * D));
    const at::Tensor d_weight_RD = at::zeros({ranges, D}, o_BHTK.options());
    const at::Tensor d_bias_RD = at::zeros_like(d_weight_RD);
    dispatch_rows(dy_BTD.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const S *dy_ptr = values<S>(dy_BTD), *gate_ptr = values<S>(gate_BTD);
      const T *o_ptr = values<T>(o_BHTK), *weight_ptr = values<T>(weight_D), *bias_ptr = values<T>(bias_D);
      const T *mean_ptr = values<T>(mean_N), *scale_ptr = values<T>(scale_N);
      T *d_o_ptr = mutable_values<T>(d_o_BHTK), *d_weight_ptr = mutable_values<T>(d_weight_RD);
      T* d_bias_ptr = mutable_values<T>(d_bias_RD);
      S* d_gate_ptr = mutable_values<S>(d_gate_BTD);
      parallel_numbered_ranges(N, ranges, [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
        std::vector<T> scratch(static_cast<std::size_t>(2 * D));
        for (std::int64_t row = begin; row < end; ++row) {
          const std::int64_t place = places.of_row(row);
          rows::layer_norm_gate_backward<T, S>(H, K, places.head, dy_ptr + row * D, o_ptr + place, weight_ptr, bias_ptr,
                                               gate_ptr != nullptr ? gate_ptr + row * D : nullptr, mean_ptr[row],
                                               scale_ptr[row], d_o_ptr + place,
                                               d_gate_ptr != nullptr ? d_gate_ptr + row * D : nullptr,
                                               d_weight_ptr + i * D, d_bias_ptr + i * D, scratch.data());
        }
      });
    });
    return {d_weight_RD.sum(0), d_bias_RD.sum(0)};
  }
};

struct CudaLayerNormGate {
  // o may be bf16 as well.
  static at::Tensor prepared(const at::Tensor& o_BHTK, at::ScalarType to) {
    return o_BHTK.scalar_type() == at::kBFloat16 ? o_BHTK : o_BHTK.to(wide_type(to));
  }

  template <class Arguments>
  static void set_heads(Arguments& p, const at::Tensor& o_BHTK) {
    p.sequences = o_BHTK.size(0), p.heads = static_cast<int>(o_BHTK.size(1)), p.time = o_BHTK.size(2);
    p.head_dim = static_cast<int>(o_BHTK.size(3));
  }

  static void forward(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                      const at::Tensor& gate_BTD, const at::Tensor& y_BTD, const at::Tensor& mean_N,
                      const at::Tensor& scale_N) {
    dispatch_elements(y_BTD.scalar_type(), [&](auto element) {
      dispatch_elements(o_BHTK.scalar_type(), [&](auto source) {
        using Element = decltype(element);
        using Source = decltype(source);
        kernels::cuda::LayerNormGateForward<Element, Source> p;
        set_heads(p, o_BHTK);
        p.o = head_rows<const Source>(o_BHTK);
        p.weight = data_of<const float>(weight_D), p.bias = data_of<const float>(bias_D);
        p.gate = data_of<const Element>(gate_BTD), p.eps = static_cast<float>(kPostNormEps);
        p.y = data_of<Element>(y_BTD), p.mean = data_of<float>(mean_N), p.scale = data_of<float>(scale_N);
        launch_cuda(o_BHTK.device(), p);
      });
    });
  }

  static NormGradients backward(const at::Tensor& dy_BTD, const at::Tensor& o_BHTK, const at::Tensor& weight_D,
                                const at::Tensor& bias_D, const at::Tensor& gate_BTD, const at::Tensor& mean_N,
                                const at::Tensor& scale_N, const at::Tensor& d_o_BHTK, const at::Tensor& d_gate_BTD) {
    const auto R = kernels::cuda::row_blocks(mean_N.numel()), D = weight_D.numel();
    const at::Tensor d_weight_RD = at::empty({R, D}, weight_D.options()), d_bias_RD = at::empty_like(d_weight_RD);
    dispatch_elements(dy_BTD.scalar_type(), [&](auto element) {
      dispatch_elements(o_BHTK.scalar_type(), [&](auto source) {
        using Element = decltype(element);
        using Source = decltype(source);
        kernels::cuda::LayerNormGateBackward<Element, Source> p;
        set_heads(p, o_BHTK);
        p.dy = data_of<const Element>(dy_BTD), p.o = head_rows<const Source>(o_BHTK);
        p.weight = data_of<const float>(weight_D), p.bias = data_of<const float>(bias_D);
        p.gate = data_of<const Element>(gate_BTD);
        p.mean = data_of<const float>(mean_N), p.scale = data_of<const float>(scale_N);
        p.d_o = head_rows<Source>(d_o_BHTK), p.dgate = data_of<Element>(d_gate_BTD);
        p.dweight = data_of<float>(d_weight_RD), p.dbias = data_of<float>(d_bias_RD);
        launch_cuda(o_BHTK.device(), p);
      });
    });
    return {d_weight_RD.sum(0), d_bias_RD.sum(0)};
  }
};

template <class Row>
struct LayerNormGateFunction : torch::autograd::Function<LayerNormGateFunction<Row>> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& o_BHTK, const at::Tensor& weight_D,
                            const at::Tensor& bias_D, const std::optional<at::Tensor>& optional_gate_BTD,
                            at::ScalarType to) {
    const at::Tensor gate_BTD = optional_gate_BTD.value_or(at::Tensor());
    const auto B = o_BHTK.size(0), H = o_BHTK.size(1), time = o_BHTK.size(2), K = o_BHTK.size(3);
    const at::Tensor y_BTD = at::empty({B, time, H * K}, o_BHTK.options().dtype(to));
    const at::Tensor mean_N = at::empty({B * time}, weight_D.options().requires_grad(false));
    const at::Tensor scale_N = at::empty_like(mean_N);
    context->save_for_backward({o_BHTK, weight_D, bias_D, gate_BTD, mean_N, scale_N});
    Row::forward(o_BHTK, weight_D, bias_D, gate_BTD, y_BTD, mean_N, scale_N);
    return y_BTD;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &o_BHTK = saved[0], &gate_BTD = saved[3];
    const at::Tensor d_o_BHTK = at::empty_strided(o_BHTK.sizes(), o_BHTK.strides(), o_BHTK.options());
    const at::Tensor d_gate_BTD = gate_BTD.defined() ? at::empty_like(gate_BTD) : at::Tensor();
    const NormGradients d = Row::backward(grads[0].contiguous(), o_BHTK, saved[1], saved[2], gate_BTD, saved[4],
                                          saved[5], d_o_BHTK, d_gate_BTD);
    return {d_o_BHTK, d.weight_D, d.bias_D, d_gate_BTD, at::Tensor()};
  }
};

at::ScalarType type_of(const at::Tensor& o, const at::Tensor& gate, std::optional<at::ScalarType> to) {
  return to.value_or(gate.defined() ? gate.scalar_type() : o.scalar_type());
}

template <class Row>
at::Tensor layer_norm_gate_with(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                                const at::Tensor& gate_BTD, std::optional<at::ScalarType> to) {
  const at::ScalarType type = type_of(o_BHTK, gate_BTD, to);
  std::optional<at::Tensor> gate;
  if (gate_BTD.defined()) gate = gate_BTD.to(type).contiguous();
  return LayerNormGateFunction<Row>::apply(dense_heads(Row::prepared(o_BHTK, type)), weight_D, bias_D, gate, type);
}

using LayerNormGateKernels =
    OpKernels<at::Tensor (*)(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                             const at::Tensor& gate_BTD, std::optional<at::ScalarType> to)>;

const LayerNormGateKernels& layer_norm_gate_rows() {
  static const LayerNormGateKernels rows("layer_norm_gate",
                                         {{{"cuda", needs_of_cuda_rows()}, layer_norm_gate_with<CudaLayerNormGate>},
                                          {{"fused", needs_of_cpu_rows()}, layer_norm_gate_with<FusedLayerNormGate>},
                                          {{"composed"}, layer_norm_gate_composed}});
  return rows;
}

}  // namespace

at::Tensor layer_norm_gate_composed(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                                    const at::Tensor& gate_BTD, std::optional<at::ScalarType> to) {
  const auto B = o_BHTK.size(0), H = o_BHTK.size(1), T = o_BHTK.size(2), K = o_BHTK.size(3);
  const at::Tensor merged = o_BHTK.transpose(1, 2).reshape({B, T, H * K}).to(weight_D.scalar_type());
  const at::Tensor normed = at::layer_norm(merged, {H * K}, weight_D, bias_D, kPostNormEps);
  return (gate_BTD.defined() ? at::gelu(gate_BTD, "tanh") * normed : normed).to(type_of(o_BHTK, gate_BTD, to));
}

at::Tensor layer_norm_gate(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                           const at::Tensor& gate_BTD, std::optional<at::ScalarType> to) {
  TTT_CHECK(o_BHTK.dim() == 4 && o_BHTK.size(1) * o_BHTK.size(3) == weight_D.size(0), "o ", o_BHTK.sizes(), ", weight ",
            weight_D.sizes());
  return layer_norm_gate_rows()
      .choose({.device = o_BHTK.device(), .dtype = type_of(o_BHTK, gate_BTD, to)})
      .run(o_BHTK, weight_D, bias_D, gate_BTD, to);
}

const KernelTable& layer_norm_gate_kernels() {
  return layer_norm_gate_rows();
}

}  // namespace ttt
