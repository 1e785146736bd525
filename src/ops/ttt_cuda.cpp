// The row of the TTT kernel table that runs on CUDA kernels (kernels/cuda): hands them heads with their strides.
//
// Calls in bf16 (q, k, v and O; all else fp32) and in fp32. Outputs and gradients of q, k, v lie in memory as
// [B,T,H,K], as the layers around have them. Kept for the backward pass: G of every token (TTT-MLP: G2 and Z1), and the
// fast weights of every segment's end. For K = 64 in bf16 that is 0.2 KiB a token and head for TTT-Linear, 0.9 KiB for
// TTT-MLP.
//
// Shapes: B batch, H heads, T time, K head size, M = 4 K hidden width of TTT-MLP, C mini-batch.
#include <algorithm>
#include <vector>

#include "base/error.h"
#include "ops/ttt_cuda_call.h"

namespace ttt {
namespace {

namespace cuda = kernels::cuda;

// Mini-batches between two states that the backward pass starts from; in between it steps back.

// The calls that an op has kernels for, with the shared memory of their blocks. The same in every table.
std::vector<KernelBlock> blocks_in(const cuda::KernelTable& table, const std::string& op) {
  std::vector<KernelBlock> all;
  for (const bool bf16 : {false, true}) {
    for (const std::int64_t head_dim : {64, 96}) {
      KernelBlock block{bf16 ? at::kBFloat16 : at::kFloat, head_dim};
      for (const cuda::KernelPlan& plan : table.plans()) {
        if (plan.op != op || !plan.kernel.ends_with(cat(bf16 ? " bf16 " : " fp32 ", head_dim))) continue;
        int& bytes = plan.kernel.starts_with("decode")     ? block.decoding_bytes
                     : plan.kernel.starts_with("backward") ? block.backward_bytes
                                                           : block.forward_bytes;
        bytes = std::max(bytes, plan.shared_bytes);
      }
      if (block.forward_bytes > 0) all.push_back(block);
    }
  }
  return all;
}

const std::vector<KernelBlock>& linear_blocks() {
  static const std::vector<KernelBlock> blocks = blocks_in(*any_cuda_kernels(), "ttt_linear");
  return blocks;
}

const std::vector<KernelBlock>& mlp_blocks() {
  static const std::vector<KernelBlock> blocks = blocks_in(*any_cuda_kernels(), "ttt_mlp");
  return blocks;
}

template <class Element>
at::Tensor linear_forward(const TttInputs& inputs, const TttWeights& initial, TttSaved* saved) {
  const CudaTttCall<Element> call(inputs);
  const TttWeights w = contiguous_weights(initial);
  const at::Tensor o = call.empty_rows();
  cuda::TttLinearForward<Element> p;
  p.in = call.inputs(), p.w = data_of<const float>(w[0]), p.b = data_of<const float>(w[1]);
  p.o = head_rows<Element>(o);
  if (saved != nullptr) {
    const at::Tensor g = call.empty({call.B, call.H, call.T, call.K});
    const at::Tensor states =
        call.empty_floats({call.B, call.H, call.segments(kernels::cuda::kLinearSegment), (call.K + 1) * call.K});
    p.g = data_of<Element>(g), p.states = data_of<float>(states), p.segment = kernels::cuda::kLinearSegment;
    *saved = {g, states};
  }
  launch_cuda(call.device(), p);
  return o;
}

template <class Element>
at::Tensor mlp_forward(const TttInputs& inputs, const TttWeights& initial, TttSaved* saved) {
  const CudaTttCall<Element> call(inputs);
  const TttWeights w = contiguous_weights(initial);
  const auto K = call.K, M = 4 * K;
  TTT_CHECK(w[0].size(2) == M, "hidden width ", w[0].size(2), " of head size ", K);
  const at::Tensor o = call.empty_rows();
  const at::Tensor scratch =
      call.empty_floats({call.B, call.H, cuda::ttt_mlp_forward_scratch<Element>(static_cast<int>(K))});
  cuda::TttMlpForward<Element> p;
  p.in = call.inputs(), p.w = weights_of<const float>(w), p.o = head_rows<Element>(o);
  p.scratch = data_of<float>(scratch);
  if (saved != nullptr) {
    const at::Tensor g2 = call.empty({call.B, call.H, call.T, K});
    const at::Tensor z1 = call.empty({call.B, call.H, call.mini_batches(), cuda::kMiniBatch * M});
    const at::Tensor states =
        call.empty_floats({call.B, call.H, call.segments(kernels::cuda::kMlpSegment), 2 * K * M + M + K});
    p.g2 = data_of<Element>(g2), p.z1 = data_of<Element>(z1);
    p.states = data_of<float>(states), p.segment = kernels::cuda::kMlpSegment;
    *saved = {g2, z1, states};
  }
  launch_cuda(call.device(), p);
  return o;
}

// Gradients of a call, allocated; of the parameters those of each sequence, which summed() adds up, always in the same
// order.
template <class Element>
struct Gradients {
  at::Tensor d_o, dq, dk, dv, dsigma, dscale, dgain, dbias;
  TttWeights dw;

  Gradients(const CudaTttCall<Element>& call, const at::Tensor& grad_o, const TttWeights& initial)
      : d_o(rows_of_16_bytes(grad_o)),
        dq(call.empty_rows()),
        dk(call.empty_rows()),
        dv(call.empty_rows()),
        dsigma(call.empty_floats({call.B, call.H, call.T})),
        dscale(call.empty_floats({call.B, call.H, cuda::kMiniBatch})),
        dgain(call.empty_floats({call.B, call.H, call.K})),
        dbias(call.empty_floats({call.B, call.H, call.K})) {
    for (const at::Tensor& x : initial) dw.push_back(call.empty_floats({call.B, x.size(0), x.size(1), x.size(2)}));
  }
  template <class Arguments>
  void set(Arguments& p) const {
    p.d_o = head_rows<const Element>(d_o);
    p.dq = head_rows<Element>(dq), p.dk = head_rows<Element>(dk), p.dv = head_rows<Element>(dv);
    p.dsigma = data_of<float>(dsigma), p.dscale = data_of<float>(dscale);
    p.dgain = data_of<float>(dgain), p.dbias = data_of<float>(dbias);
  }
  TttGradients summed() const {
    TttGradients grad;
    grad.inputs = {dq, dk, dv, dsigma, dscale.flatten(0, 1).sum(0), dgain.sum(0), dbias.sum(0)};
    for (const at::Tensor& x : dw) grad.initial.push_back(x.sum(0));
    return grad;
  }
};

template <class Element>
TttGradients linear_backward(const at::Tensor& grad_o, const TttInputs& inputs, const TttWeights& initial,
                             const TttSaved& saved) {
  const CudaTttCall<Element> call(inputs);
  const TttWeights w = contiguous_weights(initial);
  const Gradients<Element> d(call, grad_o, w);
  cuda::TttLinearBackward<Element> p;
  p.in = call.inputs(), p.w = data_of<const float>(w[0]), p.b = data_of<const float>(w[1]);
  p.g = data_of<const Element>(saved[0]), p.states = data_of<const float>(saved[1]),
  p.segment = kernels::cuda::kLinearSegment;
  d.set(p);
  p.dw = data_of<float>(d.dw[0]), p.db = data_of<float>(d.dw[1]);
  launch_cuda(call.device(), p);
  return d.summed();
}

template <class Element>
TttGradients mlp_backward(const at::Tensor& grad_o, const TttInputs& inputs, const TttWeights& initial,
                          const TttSaved& saved) {
  const CudaTttCall<Element> call(inputs);
  const TttWeights w = contiguous_weights(initial);
  const Gradients<Element> d(call, grad_o, w);
  const at::Tensor scratch =
      call.empty_floats({call.B, call.H, cuda::ttt_mlp_backward_scratch<Element>(static_cast<int>(call.K))});
  cuda::TttMlpBackward<Element> p;
  p.in = call.inputs(), p.w = weights_of<const float>(w);
  p.g2 = data_of<const Element>(saved[0]), p.z1 = data_of<const Element>(saved[1]);
  p.states = data_of<const float>(saved[2]), p.segment = kernels::cuda::kMlpSegment;
  d.set(p);
  p.dw = weights_of<float>(d.dw), p.scratch = data_of<float>(scratch);
  launch_cuda(call.device(), p);
  return d.summed();
}

// The rows' functions, over the types of q, k and v.
at::Tensor cuda_linear_forward(const TttNet&, const TttInputs& inputs, const TttWeights& initial, std::int64_t,
                               TttSaved* saved) {
  at::Tensor o;
  dispatch_elements(inputs.q_BHTK.scalar_type(),
                    [&](auto element) { o = linear_forward<decltype(element)>(inputs, initial, saved); });
  return o;
}

at::Tensor cuda_mlp_forward(const TttNet&, const TttInputs& inputs, const TttWeights& initial, std::int64_t,
                            TttSaved* saved) {
  at::Tensor o;
  dispatch_elements(inputs.q_BHTK.scalar_type(),
                    [&](auto element) { o = mlp_forward<decltype(element)>(inputs, initial, saved); });
  return o;
}

TttGradients cuda_linear_backward(const TttNet&, const at::Tensor& grad_o, const TttInputs& inputs,
                                  const TttWeights& initial, std::int64_t, const TttSaved& saved) {
  TttGradients grad;
  dispatch_elements(inputs.q_BHTK.scalar_type(),
                    [&](auto element) { grad = linear_backward<decltype(element)>(grad_o, inputs, initial, saved); });
  return grad;
}

TttGradients cuda_mlp_backward(const TttNet&, const at::Tensor& grad_o, const TttInputs& inputs,
                               const TttWeights& initial, std::int64_t, const TttSaved& saved) {
  TttGradients grad;
  dispatch_elements(inputs.q_BHTK.scalar_type(),
                    [&](auto element) { grad = mlp_backward<decltype(element)>(grad_o, inputs, initial, saved); });
  return grad;
}

KernelNeeds cuda_needs(const std::vector<KernelBlock>& (*blocks)()) {
  return {.place = KernelPlace::kGpu,
          .dtypes = {at::kBFloat16, at::kFloat},
          .mini_batch = cuda::kMiniBatch,
          .no_variants = true,
          .blocks = blocks};
}

}  // namespace

bool cuda_ttt_forward_fits(const TttNet& net, const at::Tensor& q_BHTK) {
  for (const KernelBlock& block : net.layers.size() == 1 ? linear_blocks() : mlp_blocks()) {
    if (block.dtype == q_BHTK.scalar_type() && block.head_dim == q_BHTK.size(3))
      return block.bytes(KernelPass::kForward) <= cuda_shared_limit(q_BHTK.device());
  }
  return false;
}

TttKernel cuda_ttt_linear_kernel() {
  return {{"cuda", cuda_needs(linear_blocks)}, {cuda_linear_forward, cuda_linear_backward, cuda_ttt_advance}};
}

TttKernel cuda_ttt_mlp_kernel() {
  return {{"cuda", cuda_needs(mlp_blocks)}, {cuda_mlp_forward, cuda_mlp_backward, cuda_ttt_advance}};
}

}  // namespace ttt
