#include "ops/sequence_cuda.h"

#include <ATen/ATen.h>

#include "kernels/cuda/conv_rope_args.h"
#include "kernels/cuda/selective_scan_args.h"
#include "ops/cuda_target.h"
#include "ops/cuda_values.h"

namespace ttt::on_cuda {
namespace {

namespace cuda = kernels::cuda;

template <class T>
cuda::SequenceRows<T> sequence_rows(const at::Tensor& x_BTD) {
  TTT_CHECK(x_BTD.stride(2) == 1 || x_BTD.size(2) == 1, x_BTD.sizes(), " with steps ", x_BTD.strides());
  return {data_of<T>(x_BTD), x_BTD.stride(0), x_BTD.stride(1)};
}

template <class Element>
cuda::ConvInputs<Element> conv_inputs(const at::Tensor& x_BTD, const at::Tensor& window_BWD) {
  cuda::ConvInputs<Element> in;
  in.sequences = x_BTD.size(0), in.time = x_BTD.size(1), in.width = x_BTD.size(2);
  in.x = sequence_rows<const Element>(x_BTD), in.window = data_of<const Element>(window_BWD);
  return in;
}
cuda::ConvWeights weights_of(const ConvParameters& conv) {
  return {data_of<const float>(conv.weight_WD), data_of<const float>(conv.bias_D)};
}

// The parts of sums over tokens, and their sum, always in the same order.
struct ConvParts {
  at::Tensor weight_RWD, bias_RD;

  ConvParts(std::int64_t R, const at::Tensor& weight_WD)
      : weight_RWD(at::empty({R, weight_WD.size(0), weight_WD.size(1)}, weight_WD.options())),
        bias_RD(at::empty({R, weight_WD.size(1)}, weight_WD.options())) {}
  cuda::ConvGradients pointers() const { return {data_of<float>(weight_RWD), data_of<float>(bias_RD)}; }
  ConvParameters sum() const { return {weight_RWD.sum(0), bias_RD.sum(0)}; }
};

cuda::RopeRows rope_rows(const RopeTable& table, std::int64_t offset) {
  return {data_of<const float>(table.cos_PK), data_of<const float>(table.sin_PK), table.positions(), offset};
}

// Calls body(Element, To) for rows of one type and heads of another.
template <class Body>
void dispatch_rotation(const at::Tensor& rows, const at::Tensor& heads, const Body& body) {
  if (rows.scalar_type() == at::kFloat) {
    TTT_CHECK(heads.scalar_type() == at::kFloat, "fp32 rotated to ", heads.scalar_type());
    return body(float(), float());
  }
  dispatch_elements(heads.scalar_type(), [&](auto to) { body(std::uint16_t(), to); });
}

template <class Arguments>
void set_sizes(Arguments& p, const at::Tensor& heads_BHTK, const RopeTable& table, std::int64_t offset) {
  p.sequences = heads_BHTK.size(0), p.heads = static_cast<int>(heads_BHTK.size(1)), p.time = heads_BHTK.size(2);
  p.head_dim = static_cast<int>(heads_BHTK.size(3)), p.table = rope_rows(table, offset);
}

struct Workspace {
  at::Tensor carries, dt_sums;

  Workspace(const cuda::ScanInputs& in, const at::TensorOptions& options) {
    if (in.segments() == 1) return;
    carries = at::empty({in.sequences, in.segments(), kernels::kScanStates, in.channels}, options);
    dt_sums = at::empty({in.sequences, in.segments(), in.channels}, options);
  }
  cuda::ScanWorkspace pointers() const { return {data_of<float>(carries), data_of<float>(dt_sums)}; }
};

cuda::ScanInputs scan_inputs(const ScanInputs& in, const at::Tensor& A_NE) {
  cuda::ScanInputs p;
  p.sequences = in.x_BTE.size(0), p.time = in.x_BTE.size(1), p.channels = in.x_BTE.size(2);
  p.segment = cuda::scan_segment(p.sequences, p.time, p.channels);
  p.x = data_of<const float>(in.x_BTE), p.dt = data_of<const float>(in.dt_BTE), p.A = data_of<const float>(A_NE);
  p.B = data_of<const float>(in.B_BTN), p.C = data_of<const float>(in.C_BTN), p.D = data_of<const float>(in.D_E);
  return p;
}

}  // namespace

void causal_conv(const at::Tensor& x_BTD, const ConvParameters& conv, const at::Tensor& window_BWD,
                 const at::Tensor& y_BTD) {
  dispatch_elements(x_BTD.scalar_type(), [&](auto element) {
    using Element = decltype(element);
    launch_cuda(x_BTD.device(), cuda::CausalConvForward<Element>{conv_inputs<Element>(x_BTD, window_BWD),
                                                                 weights_of(conv), sequence_rows<Element>(y_BTD)});
  });
}

ConvParameters causal_conv_backward(const at::Tensor& dy_BTD, const at::Tensor& x_BTD, const at::Tensor& weight_WD,
                                    const at::Tensor& window_BWD, const at::Tensor& dx_BTD) {
  ConvParameters sums;
  dispatch_elements(x_BTD.scalar_type(), [&](auto element) {
    using Element = decltype(element);
    cuda::CausalConvBackward<Element> p;
    p.in = conv_inputs<Element>(x_BTD, window_BWD);
    const ConvParts parts(p.in.parts(), weight_WD);
    p.weight = data_of<const float>(weight_WD);
    p.dy = sequence_rows<const Element>(dy_BTD), p.dx = sequence_rows<Element>(dx_BTD), p.conv = parts.pointers();
    launch_cuda(x_BTD.device(), p);
    sums = parts.sum();
  });
  return sums;
}

void rope(const at::Tensor& x_BTD, const RopeTable& table, std::int64_t offset, const at::Tensor& y_BHTK) {
  dispatch_rotation(x_BTD, y_BHTK, [&](auto element, auto to) {
    using Element = decltype(element);
    using To = decltype(to);
    cuda::RopeForward<Element, To> p;
    set_sizes(p, y_BHTK, table, offset);
    p.x = sequence_rows<const Element>(x_BTD), p.y = head_rows<To>(y_BHTK);
    launch_cuda(x_BTD.device(), p);
  });
}

void rope_backward(const at::Tensor& dy_BHTK, const RopeTable& table, std::int64_t offset, const at::Tensor& dx_BTD) {
  dispatch_rotation(dx_BTD, dy_BHTK, [&](auto element, auto to) {
    using Element = decltype(element);
    using To = decltype(to);
    cuda::RopeBackward<Element, To> p;
    set_sizes(p, dy_BHTK, table, offset);
    p.dy = head_rows<const To>(dy_BHTK), p.dx = sequence_rows<Element>(dx_BTD);
    launch_cuda(dx_BTD.device(), p);
  });
}

void conv_rope(const at::Tensor& x_BTD, const ConvParameters& q_conv, const ConvParameters& k_conv,
               const at::Tensor& window_BWD, const RopeTable& table, std::int64_t offset, const at::Tensor& q_BHTK,
               const at::Tensor& k_BHTK) {
  dispatch_rotation(x_BTD, q_BHTK, [&](auto element, auto to) {
    using Element = decltype(element);
    using To = decltype(to);
    cuda::ConvRopeForward<Element, To> p;
    p.in = conv_inputs<Element>(x_BTD, window_BWD);
    p.head_dim = static_cast<int>(q_BHTK.size(3)), p.table = rope_rows(table, offset);
    p.q_conv = weights_of(q_conv), p.k_conv = weights_of(k_conv);
    p.q = head_rows<To>(q_BHTK), p.k = head_rows<To>(k_BHTK);
    launch_cuda(x_BTD.device(), p);
  });
}

ConvRopeGradients conv_rope_backward(const at::Tensor& dq_BHTK, const at::Tensor& dk_BHTK, const at::Tensor& x_BTD,
                                     const at::Tensor& q_weight_WD, const at::Tensor& k_weight_WD,
                                     const at::Tensor& window_BWD, const RopeTable& table, std::int64_t offset,
                                     const at::Tensor& dx_BTD) {
  ConvRopeGradients sums;
  dispatch_rotation(x_BTD, dq_BHTK, [&](auto element, auto to) {
    using Element = decltype(element);
    using To = decltype(to);
    cuda::ConvRopeBackward<Element, To> p;
    p.in = conv_inputs<Element>(x_BTD, window_BWD);
    const ConvParts q(p.in.parts(), q_weight_WD), k(p.in.parts(), k_weight_WD);
    p.head_dim = static_cast<int>(dq_BHTK.size(3)), p.table = rope_rows(table, offset);
    p.q_weight = data_of<const float>(q_weight_WD), p.k_weight = data_of<const float>(k_weight_WD);
    p.dq = head_rows<const To>(dq_BHTK), p.dk = head_rows<const To>(dk_BHTK);
    p.dx = sequence_rows<Element>(dx_BTD), p.q_conv = q.pointers(), p.k_conv = k.pointers();
    launch_cuda(x_BTD.device(), p);
    sums = {q.sum(), k.sum()};
  });
  return sums;
}

at::Tensor selective_scan(const ScanInputs& in, const at::Tensor& A_NE, const at::Tensor& h_BNE, at::Tensor* starts) {
  cuda::ScanForward p;
  p.in = scan_inputs(in, A_NE);
  const auto options = in.x_BTE.options();
  const Workspace work(p.in, options);
  const at::Tensor y_BTE = at::empty_like(in.x_BTE);
  if (starts != nullptr)
    *starts = at::empty({p.in.sequences, p.in.chunks(), kernels::kScanStates, p.in.channels}, options);
  p.h = data_of<const float>(h_BNE), p.h_end = data_of<float>(h_BNE), p.y = data_of<float>(y_BTE);
  p.starts = starts == nullptr ? nullptr : data_of<float>(*starts);
  p.work = work.pointers();
  launch_cuda(in.x_BTE.device(), p);
  return y_BTE;
}

ScanGradients selective_scan_backward(const ScanInputs& in, const at::Tensor& A_NE, const at::Tensor& starts,
                                      const at::Tensor& dy_BTE) {
  cuda::ScanBackward p;
  p.in = scan_inputs(in, A_NE);
  const auto options = in.x_BTE.options();
  const Workspace work(p.in, options);
  const auto B = p.in.sequences, T = p.in.time, E = p.in.channels, L = p.in.segments(), N = kernels::kScanStates;
  const at::Tensor dx = at::empty_like(in.x_BTE), d_dt = at::empty_like(in.x_BTE);
  const at::Tensor dA = at::empty({B * L, N, E}, options), dD = at::empty({B * L, E}, options);
  const at::Tensor dB = at::empty({B, p.in.groups(), T, N}, options), dC = at::empty_like(dB);
  p.starts = data_of<const float>(starts), p.dy = data_of<const float>(dy_BTE);
  p.dx = data_of<float>(dx), p.d_dt = data_of<float>(d_dt);
  p.dA = data_of<float>(dA), p.dD = data_of<float>(dD), p.dB = data_of<float>(dB), p.dC = data_of<float>(dC);
  p.work = work.pointers();
  launch_cuda(in.x_BTE.device(), p);
  return {dx, d_dt, dA.sum(0), dB.sum(1), dC.sum(1), dD.sum(0)};
}

}  // namespace ttt::on_cuda
