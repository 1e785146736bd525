#include "ops/conv_rope.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <optional>

#include "base/error.h"
#include "ops/causal_conv.h"
#include "ops/row_dispatch.h"
#include "ops/sequence_args.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor taps_first(const at::Tensor& weight_D1W) {
  return weight_D1W.squeeze(1).t().contiguous();
}
at::Tensor channels_first(const at::Tensor& weight_WD) {
  return weight_WD.t().unsqueeze(1).contiguous();
}

void cuda_conv_rope(const at::Tensor& x_BTD, const on_cuda::ConvParameters& q_conv,
                    const on_cuda::ConvParameters& k_conv, const at::Tensor& window_BWD, const RopeTable& table,
                    std::int64_t offset, const at::Tensor& q_BHTK, const at::Tensor& k_BHTK) {
  on_cuda::dispatch_rotation(x_BTD, q_BHTK, [&](auto element, auto to) {
    using Element = decltype(element);
    using To = decltype(to);
    kernels::cuda::ConvRopeForward<Element, To> p;
    p.in = on_cuda::conv_inputs<Element>(x_BTD, window_BWD);
    p.head_dim = static_cast<int>(q_BHTK.size(3)), p.table = on_cuda::rope_rows(table, offset);
    p.q_conv = on_cuda::weights_of(q_conv), p.k_conv = on_cuda::weights_of(k_conv);
    p.q = head_rows<To>(q_BHTK), p.k = head_rows<To>(k_BHTK);
    launch_cuda(x_BTD.device(), p);
  });
}

struct ConvRopeGradients {
  on_cuda::ConvParameters q, k;
};
ConvRopeGradients cuda_conv_rope_backward(const at::Tensor& dq_BHTK, const at::Tensor& dk_BHTK, const at::Tensor& x_BTD,
                                          const at::Tensor& q_weight_WD, const at::Tensor& k_weight_WD,
                                          const at::Tensor& window_BWD, const RopeTable& table, std::int64_t offset,
                                          const at::Tensor& dx_BTD) {
  ConvRopeGradients sums;
  on_cuda::dispatch_rotation(x_BTD, dq_BHTK, [&](auto element, auto to) {
    using Element = decltype(element);
    using To = decltype(to);
    kernels::cuda::ConvRopeBackward<Element, To> p;
    p.in = on_cuda::conv_inputs<Element>(x_BTD, window_BWD);
    const on_cuda::ConvParts q(p.in.parts(), q_weight_WD), k(p.in.parts(), k_weight_WD);
    p.head_dim = static_cast<int>(dq_BHTK.size(3)), p.table = on_cuda::rope_rows(table, offset);
    p.q_weight = data_of<const float>(q_weight_WD), p.k_weight = data_of<const float>(k_weight_WD);
    p.dq = head_rows<const To>(dq_BHTK), p.dk = head_rows<const To>(dk_BHTK);
    p.dx = on_cuda::sequence_rows<Element>(dx_BTD), p.q_conv = q.pointers(), p.k_conv = k.pointers();
    launch_cuda(x_BTD.device(), p);
    sums = {q.sum(), k.sum()};
  });
  return sums;
}

struct ConvRopeFunction : torch::autograd::Function<ConvRopeFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x_BTD, const at::Tensor& q_weight_D1W,
                               const at::Tensor& q_bias_D, const at::Tensor& k_weight_D1W, const at::Tensor& k_bias_D,
                               const std::optional<at::Tensor>& optional_window_BWD, std::int64_t H,
                               const at::Tensor& cos_PK, const at::Tensor& sin_PK, std::int64_t offset,
                               at::ScalarType to) {
    const auto B = x_BTD.size(0), T = x_BTD.size(1), K = x_BTD.size(2) / H;
    const at::Tensor window_BWD = optional_window_BWD.value_or(at::Tensor());
    const at::Tensor q_weight_WD = taps_first(q_weight_D1W), k_weight_WD = taps_first(k_weight_D1W);
    // In memory as [B,T,H,K]: whole rows are written together.
    const at::Tensor q_BHTK = at::empty({B, T, H, K}, x_BTD.options().dtype(to)).transpose(1, 2);
    const at::Tensor k_BHTK = at::empty_like(q_BHTK);
    cuda_conv_rope(x_BTD, {q_weight_WD, q_bias_D}, {k_weight_WD, k_bias_D}, window_BWD, {cos_PK, sin_PK}, offset,
                   q_BHTK, k_BHTK);
    context->save_for_backward({x_BTD, q_weight_WD, k_weight_WD, window_BWD, cos_PK, sin_PK});
    context->saved_data["offset"] = offset;
    return {q_BHTK, k_BHTK};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x_BTD = saved[0], &q_weight_WD = saved[1], &k_weight_WD = saved[2], &window_BWD = saved[3];
    const auto with_rows = [](const at::Tensor& x) { return x.stride(3) == 1 ? x : x.contiguous(); };
    const at::Tensor dq_BHTK = with_rows(grads[0]), dk_BHTK = with_rows(grads[1]);
    const at::Tensor dx_BTD = at::empty_like(x_BTD);
    const auto d = cuda_conv_rope_backward(dq_BHTK, dk_BHTK, x_BTD, q_weight_WD, k_weight_WD, window_BWD,
                                           {saved[4], saved[5]}, context->saved_data["offset"].toInt(), dx_BTD);
    return {dx_BTD,       channels_first(d.q.weight_WD),
            d.q.bias_D,   channels_first(d.k.weight_WD),
            d.k.bias_D,   at::Tensor(),
            at::Tensor(), at::Tensor(),
            at::Tensor(), at::Tensor(),
            at::Tensor()};
  }
};

RotatedHeads cuda_conv_rope_split_heads(const at::Tensor& x_BTD, const ConvWeights& q_conv, const ConvWeights& k_conv,
                                        const at::Tensor& window_BWD, std::int64_t num_heads, const RopeTable& table,
                                        std::int64_t offset, at::ScalarType to) {
  TTT_CHECK(x_BTD.dim() == 3 && x_BTD.size(2) == num_heads * table.cos_PK.size(1), "x ", x_BTD.sizes(), ", ", num_heads,
            " heads, table ", table.cos_PK.sizes());
  std::optional<at::Tensor> window;
  if (window_BWD.defined()) window = window_BWD.to(x_BTD.scalar_type()).contiguous();
  const variable_list both =
      ConvRopeFunction::apply(x_BTD.contiguous(), q_conv.weight_D1W, q_conv.bias_D, k_conv.weight_D1W, k_conv.bias_D,
                              window, num_heads, table.cos_PK, table.sin_PK, offset, to);
  return {both[0], both[1]};
}

// The two ops one after the other, each by its own table.
RotatedHeads conv_then_rope(const at::Tensor& x_BTD, const ConvWeights& q_conv, const ConvWeights& k_conv,
                            const at::Tensor& window_BWD, std::int64_t num_heads, const RopeTable& table,
                            std::int64_t offset, at::ScalarType to) {
  const auto one = [&](const ConvWeights& conv) {
    return rope_split_heads(causal_conv(x_BTD, conv.weight_D1W, conv.bias_D, window_BWD), num_heads, table, offset, to);
  };
  return {one(q_conv), one(k_conv)};
}

RotatedHeads conv_rope_composed(const at::Tensor& x_BTD, const ConvWeights& q_conv, const ConvWeights& k_conv,
                                const at::Tensor& window_BWD, std::int64_t num_heads, const RopeTable& table,
                                std::int64_t offset, at::ScalarType to) {
  const auto one = [&](const ConvWeights& conv) {
    const at::Tensor x = causal_conv_composed(x_BTD, conv.weight_D1W, conv.bias_D, window_BWD);
    return rope_split_heads_composed(x, num_heads, table, offset, to);
  };
  return {one(q_conv), one(k_conv)};
}

using ConvRopeKernels = OpKernels<RotatedHeads (*)(
    const at::Tensor& x_BTD, const ConvWeights& q_conv, const ConvWeights& k_conv, const at::Tensor& window_BWD,
    std::int64_t num_heads, const RopeTable& table, std::int64_t offset, at::ScalarType to)>;

const ConvRopeKernels& conv_rope_rows() {
  static const ConvRopeKernels rows("conv_rope", {{{"cuda", needs_of_cuda_rows()}, cuda_conv_rope_split_heads},
                                                  {{"fused"}, conv_then_rope},
                                                  {{"composed"}, conv_rope_composed}});
  return rows;
}

}  // namespace

RotatedHeads conv_rope_split_heads(const at::Tensor& x_BTD, const ConvWeights& q_conv, const ConvWeights& k_conv,
                                   const at::Tensor& window_BWD, std::int64_t num_heads, const RopeTable& table,
                                   std::int64_t offset, at::ScalarType to) {
  return conv_rope_rows()
      .choose({.device = x_BTD.device(), .dtype = x_BTD.scalar_type()})
      .run(x_BTD, q_conv, k_conv, window_BWD, num_heads, table, offset, to);
}

const KernelTable& conv_rope_kernels() {
  return conv_rope_rows();
}

}  // namespace ttt
