// The row of the TTT kernel table that runs on CUDA kernels (kernels/cuda): hands them heads with their strides.
//
// Calls in bf16 (q, k, v and O; all else fp32) and in fp32. Outputs and gradients of q, k, v lie in memory as
// [B,T,H,K], as the layers around have them. Kept for the backward pass: G of every token, and the fast weights of
// every segment's end.
//
// Shapes: B batch, H heads, P = B*H, T time, K head size, C mini-batch.
#include <ATen/ATen.h>

#include "base/error.h"
#include "kernels/cuda/ttt_args.h"
#include "ops/cuda_target.h"
#include "ops/ttt_kernels.h"

namespace ttt {
namespace {

namespace cuda = kernels::cuda;

// Mini-batches between two states that the backward pass starts from; in between it steps back.
constexpr std::int64_t kLinearSegment = 16;

// The shared memory of the largest block that an op's kernels of that type and head size have; 0: there is none.
int shared_bytes_of(const cuda::KernelTable& table, const std::string& op, const std::string& variant) {
  int bytes = 0;
  for (const cuda::KernelPlan& plan : table.plans())
    if (plan.op == op && plan.kernel.ends_with(" " + variant)) bytes = std::max(bytes, plan.shared_bytes);
  return bytes;
}

std::string unsupported(TttKind kind, const TttShape& shape) {
  const cuda::KernelTable* table = cuda_kernels(shape.device);
  if (table == nullptr) return shape.device.is_cuda() ? "this ttt was built without nvcc" : "it runs on a GPU";
  if (shape.dtype != at::kFloat && shape.dtype != at::kBFloat16)
    return cat("it takes bf16 and fp32, not ", shape.dtype);
  if (shape.mini_batch != cuda::kMiniBatch)
    return cat("its mini-batches have ", cuda::kMiniBatch, " tokens, not ", shape.mini_batch);
  const std::string op = kind == TttKind::kLinear ? "ttt_linear" : "ttt_mlp";
  const std::string type = shape.dtype == at::kFloat ? "fp32" : "bf16";
  const int bytes = shared_bytes_of(*table, op, cat(type, " ", shape.head_dim));
  if (bytes == 0) return cat("it has no kernel of ", to_string(kind), " in ", type, " with head size ", shape.head_dim);
  if (bytes > cuda_shared_limit(shape.device))
    return cat("its block needs ", bytes, " bytes of shared memory, this GPU has ", cuda_shared_limit(shape.device));
  return "";
}

// Rows that the kernels can copy by 16 bytes.
at::Tensor with_rows(const at::Tensor& x) {
  const auto step = 16 / x.element_size();
  bool aligned = x.stride(3) == 1 && reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % 16 == 0;
  for (int dim = 0; dim < 3; ++dim) aligned = aligned && (x.size(dim) == 1 || x.stride(dim) % step == 0);
  return aligned ? x : x.clone(at::MemoryFormat::Contiguous);
}

// [B,H,T] or [B,H,T,K] as rows of heads.
template <class T>
cuda::HeadRows<T> rows(const at::Tensor& x) {
  return {static_cast<T*>(x.data_ptr()), x.stride(0), x.stride(1), x.stride(2)};
}

float* floats(const at::Tensor& x) {
  return x.defined() ? x.mutable_data_ptr<float>() : nullptr;
}

// The tensors of a call as the kernels take them.
template <class Element>
class Call {
 public:
  Call(const TttInputs& inputs, const TttWeights& initial)
      : B(inputs.q_BHTK.size(0)),
        H(inputs.q_BHTK.size(1)),
        T(inputs.q_BHTK.size(2)),
        K(inputs.q_BHTK.size(3)),
        q_(with_rows(inputs.q_BHTK)),
        k_(with_rows(inputs.k_BHTK)),
        v_(with_rows(inputs.v_BHTK)),
        sigma_(inputs.sigma_BHT),
        scale_(inputs.scale_C.contiguous()),
        gain_(inputs.gain_HK.contiguous()),
        bias_(inputs.bias_HK.contiguous()),
        w1(initial.w1.contiguous()),
        b1(initial.b1.contiguous()) {}

  cuda::TttInputs<Element> inputs() const {
    cuda::TttInputs<Element> in;
    in.sequences = B, in.heads = static_cast<int>(H), in.time = T, in.head_dim = static_cast<int>(K);
    in.q = rows<const Element>(q_), in.k = rows<const Element>(k_), in.v = rows<const Element>(v_);
    in.sigma = rows<const float>(sigma_);
    in.scale = floats(scale_), in.gain = floats(gain_), in.bias = floats(bias_);
    return in;
  }
  // [B,H,T,K] over memory of [B,T,H,K].
  at::Tensor empty_rows() const { return at::empty({B, T, H, K}, elements()).transpose(1, 2); }
  at::Tensor empty(at::IntArrayRef sizes) const { return at::empty(sizes, elements()); }
  at::Tensor empty_floats(at::IntArrayRef sizes) const { return at::empty(sizes, elements().dtype(at::kFloat)); }

  at::Device device() const { return q_.device(); }
  std::int64_t whole_mini_batches() const { return T / cuda::kMiniBatch; }
  std::int64_t segments(std::int64_t segment) const { return (whole_mini_batches() + segment - 1) / segment; }

  const std::int64_t B, H, T, K;

 private:
  at::TensorOptions elements() const { return q_.options().requires_grad(false); }

  at::Tensor q_, k_, v_, sigma_, scale_, gain_, bias_;

 public:
  const at::Tensor w1, b1;
};

template <class Element>
at::Tensor linear_forward(const TttInputs& inputs, const TttWeights& initial, TttSaved* saved) {
  const Call<Element> call(inputs, initial);
  const at::Tensor o = call.empty_rows();
  cuda::TttLinearForward<Element> p;
  p.in = call.inputs(), p.w = floats(call.w1), p.b = floats(call.b1), p.o = rows<Element>(o);
  if (saved != nullptr) {
    const at::Tensor g = call.empty({call.B, call.H, call.T, call.K});
    const at::Tensor states = call.empty_floats({call.B, call.H, call.segments(kLinearSegment), (call.K + 1) * call.K});
    p.g = static_cast<Element*>(g.data_ptr()), p.states = floats(states), p.segment = kLinearSegment;
    *saved = {g, states};
  }
  launch_cuda(call.device(), p);
  return o;
}

template <class Element>
TttGradients linear_backward(const at::Tensor& grad_o, const TttInputs& inputs, const TttWeights& initial,
                             const TttSaved& saved) {
  const Call<Element> call(inputs, initial);
  const auto B = call.B, H = call.H, K = call.K;
  const at::Tensor d_o = with_rows(grad_o), dq = call.empty_rows(), dk = call.empty_rows(), dv = call.empty_rows();
  const at::Tensor dsigma = call.empty_floats({B, H, call.T}), dscale = call.empty_floats({B, H, cuda::kMiniBatch});
  const at::Tensor dgain = call.empty_floats({B, H, K}), dbias = call.empty_floats({B, H, K});
  const at::Tensor dw = call.empty_floats({B, H, K, K}), db = call.empty_floats({B, H, 1, K});
  cuda::TttLinearBackward<Element> p;
  p.in = call.inputs(), p.d_o = rows<const Element>(d_o);
  p.w = floats(call.w1), p.b = floats(call.b1);
  p.g = static_cast<const Element*>(saved[0].const_data_ptr()), p.states = floats(saved[1]), p.segment = kLinearSegment;
  p.dq = rows<Element>(dq), p.dk = rows<Element>(dk), p.dv = rows<Element>(dv);
  p.dsigma = floats(dsigma), p.dscale = floats(dscale), p.dgain = floats(dgain), p.dbias = floats(dbias);
  p.dw = floats(dw), p.db = floats(db);
  launch_cuda(call.device(), p);
  TttGradients grad;
  grad.inputs = {dq, dk, dv, dsigma, dscale.flatten(0, 1).sum(0), dgain.sum(0), dbias.sum(0)};
  grad.initial = {dw.sum(0), db.sum(0), {}, {}};
  return grad;
}

at::Tensor forward(TttKind, const TttInputs& inputs, const TttWeights& initial, std::int64_t, TttSaved* saved) {
  if (inputs.q_BHTK.scalar_type() == at::kFloat) return linear_forward<float>(inputs, initial, saved);
  return linear_forward<std::uint16_t>(inputs, initial, saved);
}

TttGradients backward(TttKind, const at::Tensor& grad_o, const TttInputs& inputs, const TttWeights& initial,
                      std::int64_t, const TttSaved& saved) {
  if (inputs.q_BHTK.scalar_type() == at::kFloat) return linear_backward<float>(grad_o, inputs, initial, saved);
  return linear_backward<std::uint16_t>(grad_o, inputs, initial, saved);
}

}  // namespace

TttKernel cuda_ttt_kernel() {
  return {"cuda", unsupported, forward, backward};
}

}  // namespace ttt
