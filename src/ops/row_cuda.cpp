#include "ops/row_cuda.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "kernels/cuda/row_args.h"
#include "ops/cuda_values.h"

namespace ttt::on_cuda {
namespace {

namespace cuda = kernels::cuda;

// A sum over the leading dimension, of a fixed length: the same bits in every run.
at::Tensor sum_of_parts(const at::Tensor& parts) {
  return parts.sum(0);
}

template <class T>
cuda::StridedRows<T> one_row(const at::Tensor& x) {
  return {static_cast<T*>(x.data_ptr()), x.numel()};
}

template <class Arguments>
void set_heads(Arguments& p, const at::Tensor& o_BHTK) {
  p.sequences = o_BHTK.size(0), p.heads = static_cast<int>(o_BHTK.size(1)), p.time = o_BHTK.size(2);
  p.head_dim = static_cast<int>(o_BHTK.size(3));
}

}  // namespace

void rms_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight_D, double eps,
              const at::Tensor& x_new, const at::Tensor& y, const at::Tensor& scale_N) {
  dispatch_elements(y.scalar_type(), [&](auto element) {
    using Element = decltype(element);
    cuda::RmsNormForward<Element> p;
    p.width = x.size(-1), p.rows = x.numel() / p.width;
    p.x = data_of<const float>(x), p.delta = data_of<const Element>(delta), p.weight = data_of<const float>(weight_D);
    p.eps = static_cast<float>(eps);
    p.x_new = data_of<float>(x_new), p.y = data_of<Element>(y), p.scale = data_of<float>(scale_N);
    launch_cuda(x.device(), p);
  });
}

at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight_D,
                             const at::Tensor& scale_N, const at::Tensor& d_residual, const at::Tensor& dx,
                             const at::Tensor& d_delta) {
  const auto D = x.size(-1), N = x.numel() / D;
  const at::Tensor d_weight_RD = at::empty({cuda::row_blocks(N), D}, weight_D.options());
  dispatch_elements(dy.scalar_type(), [&](auto element) {
    using Element = decltype(element);
    cuda::RmsNormBackward<Element> p;
    p.rows = N, p.width = D;
    p.dy = data_of<const Element>(dy), p.x = data_of<const float>(x), p.weight = data_of<const float>(weight_D);
    p.scale = data_of<const float>(scale_N), p.d_residual = data_of<const float>(d_residual);
    p.dx = data_of<float>(dx), p.d_delta = data_of<Element>(d_delta), p.dweight = data_of<float>(d_weight_RD);
    launch_cuda(x.device(), p);
  });
  return sum_of_parts(d_weight_RD);
}

void layer_norm_gate(const at::Tensor& o_BHTK, const at::Tensor& weight_D, const at::Tensor& bias_D,
                     const at::Tensor& gate_BTD, double eps, const at::Tensor& y_BTD, const at::Tensor& mean_N,
                     const at::Tensor& scale_N) {
  dispatch_elements(y_BTD.scalar_type(), [&](auto element) {
    dispatch_elements(o_BHTK.scalar_type(), [&](auto source) {
      using Element = decltype(element);
      using Source = decltype(source);
      cuda::LayerNormGateForward<Element, Source> p;
      set_heads(p, o_BHTK);
      p.o = head_rows<const Source>(o_BHTK);
      p.weight = data_of<const float>(weight_D), p.bias = data_of<const float>(bias_D);
      p.gate = data_of<const Element>(gate_BTD), p.eps = static_cast<float>(eps);
      p.y = data_of<Element>(y_BTD), p.mean = data_of<float>(mean_N), p.scale = data_of<float>(scale_N);
      launch_cuda(o_BHTK.device(), p);
    });
  });
}

NormGradients layer_norm_gate_backward(const at::Tensor& dy_BTD, const at::Tensor& o_BHTK, const at::Tensor& weight_D,
                                       const at::Tensor& bias_D, const at::Tensor& gate_BTD, const at::Tensor& mean_N,
                                       const at::Tensor& scale_N, const at::Tensor& d_o_BHTK,
                                       const at::Tensor& d_gate_BTD) {
  const auto R = cuda::row_blocks(mean_N.numel()), D = weight_D.numel();
  const at::Tensor d_weight_RD = at::empty({R, D}, weight_D.options()), d_bias_RD = at::empty_like(d_weight_RD);
  dispatch_elements(dy_BTD.scalar_type(), [&](auto element) {
    dispatch_elements(o_BHTK.scalar_type(), [&](auto source) {
      using Element = decltype(element);
      using Source = decltype(source);
      cuda::LayerNormGateBackward<Element, Source> p;
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
  return {sum_of_parts(d_weight_RD), sum_of_parts(d_bias_RD)};
}

void swiglu(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& y) {
  dispatch_elements(gate.scalar_type(), [&](auto element) {
    using Element = decltype(element);
    cuda::SwigluForward<Element> p;
    p.rows = 1, p.width = gate.numel();
    p.gate = one_row<const Element>(gate), p.up = one_row<const Element>(up), p.y = one_row<Element>(y);
    launch_cuda(gate.device(), p);
  });
}

void swiglu_backward(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up, const at::Tensor& d_gate,
                     const at::Tensor& d_up) {
  dispatch_elements(gate.scalar_type(), [&](auto element) {
    using Element = decltype(element);
    cuda::SwigluBackward<Element> p;
    p.rows = 1, p.width = gate.numel();
    p.dy = one_row<const Element>(dy), p.gate = one_row<const Element>(gate), p.up = one_row<const Element>(up);
    p.dgate = one_row<Element>(d_gate), p.dup = one_row<Element>(d_up);
    launch_cuda(gate.device(), p);
  });
}

void cross_entropy(const at::Tensor& logits_NV, const at::Tensor& targets_N, const at::Tensor& loss_N,
                   const at::Tensor& log_sum_N) {
  dispatch_elements(logits_NV.scalar_type(), [&](auto element) {
    using Element = decltype(element);
    cuda::CrossEntropyForward<Element> p;
    p.rows = logits_NV.size(0), p.width = logits_NV.size(1);
    p.logits = {data_of<const Element>(logits_NV), logits_NV.stride(0)};
    p.targets = data_of<const std::int64_t>(targets_N);
    p.loss = data_of<float>(loss_N), p.log_sum = data_of<float>(log_sum_N);
    launch_cuda(logits_NV.device(), p);
  });
}

void cross_entropy_gradient(const at::Tensor& logits_NV, const at::Tensor& targets_N, const at::Tensor& log_sum_N,
                            const at::Tensor& grad_N) {
  dispatch_elements(logits_NV.scalar_type(), [&](auto element) {
    using Element = decltype(element);
    cuda::CrossEntropyGradient<Element> p;
    p.rows = logits_NV.size(0), p.width = logits_NV.size(1);
    p.logits = {data_of<Element>(logits_NV), logits_NV.stride(0)};
    p.targets = data_of<const std::int64_t>(targets_N);
    p.log_sum = data_of<const float>(log_sum_N), p.g = data_of<const float>(grad_N);
    launch_cuda(logits_NV.device(), p);
  });
}

}  // namespace ttt::on_cuda
