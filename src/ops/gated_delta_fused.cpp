// The fused rows of the gated delta rule's kernel table: hands heads, their strides and a workspace to
// kernels/cpu/gated_delta_fused.h.
//
// Outputs and gradients of q, k, v lie in memory as [B,T,H,K], as the layers around have them. Kept for the backward
// pass: the state at every chunk's start, [B*H, chunks, K*V], and the rows that the tokens wrote, [B*H, T, V]: for
// K = 64, V = 128 together 1 KiB a token and head.
//
// Shapes: B batch, H heads, P = B*H, T time, K the keys' head size, V the values'.
#include "kernels/cpu/gated_delta_fused.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "ops/gated_delta_kernels.h"
#include "ops/parallel.h"

namespace ttt {
namespace {

using kernels::FusedGatedDelta;
using kernels::GatedDeltaHead;

constexpr std::int64_t kLargestHead = 256;

// The tensors of a call in a form that heads can be taken from.
class FusedDeltaCall {
 public:
  explicit FusedDeltaCall(const GatedDeltaInputs& in)
      : B(in.q_BHTK.size(0)),
        H(in.q_BHTK.size(1)),
        T(in.q_BHTK.size(2)),
        K(in.q_BHTK.size(3)),
        V(in.v_BHTV.size(3)),
        P(B * H),
        q_(with_dense_rows(in.q_BHTK)),
        k_(with_dense_rows(in.k_BHTK)),
        v_(with_dense_rows(in.v_BHTV)),
        g_(in.g_BHT),
        beta_(in.beta_BHT) {}

  GatedDeltaHead head(std::int64_t p) const {
    GatedDeltaHead head;
    head.time = T, head.key_dim = K, head.value_dim = V;
    head.q = rows<const float>(q_, p), head.k = rows<const float>(k_, p), head.v = rows<const float>(v_, p);
    head.g = rows<const float>(g_, p), head.beta = rows<const float>(beta_, p);
    return head;
  }

  // The rows of head p of a tensor [B,H,T] or [B,H,T,X].
  template <class X>
  kernels::HeadRows<X> rows(const at::Tensor& x, std::int64_t p) const {
    return {static_cast<X*>(x.data_ptr()) + p / H * x.stride(0) + p % H * x.stride(1), x.stride(2)};
  }

  static at::Tensor with_dense_rows(const at::Tensor& x) { return x.stride(-1) == 1 ? x : x.contiguous(); }

  // [B,H,T,X] over memory of [B,T,H,X].
  at::Tensor empty_rows(std::int64_t X) const { return at::empty({B, T, H, X}, options()).transpose(1, 2); }
  at::Tensor empty(at::IntArrayRef sizes) const { return at::empty(sizes, options()); }

  // body(p, workspace) for every head, over the threads, `grain` heads at least.
  template <class Body>
  void parallel_heads(const FusedGatedDelta& row, bool backward, std::int64_t grain, const Body& body) const {
    const std::int64_t floats = row.workspace(head(0), backward);
    parallel_ranges(P, grain, [&](std::int64_t begin, std::int64_t end) {
      const at::Tensor workspace = empty({floats});
      for (std::int64_t p = begin; p < end; ++p) body(p, workspace.mutable_data_ptr<float>());
    });
  }

  const std::int64_t B, H, T, K, V, P;

 private:
  at::TensorOptions options() const { return q_.options().requires_grad(false); }

  at::Tensor q_, k_, v_, g_, beta_;
};

KernelNeeds needs_of(const FusedGatedDelta& row) {
  return {.place = KernelPlace::kCpu,
          .dtypes = {at::kFloat},
          .instructions = row.name,
          .processor_has = row.supported,
          .head_dim_multiple = 16,
          .largest_head_dim = kLargestHead};
}

// The part of head p of a tensor [B*H, ...] or [B,H,...].
float* head_part(const at::Tensor& x, std::int64_t p, std::int64_t size) {
  return x.mutable_data_ptr<float>() + p * size;
}

at::Tensor delta_fused_forward(const FusedGatedDelta& row, const GatedDeltaInputs& inputs, const at::Tensor* state_BHKV,
                               GatedDeltaSaved* saved) {
  const FusedDeltaCall call(inputs);
  const at::Tensor o = call.empty_rows(call.V);
  const std::int64_t state_size = call.K * call.V, chunks = call.head(0).chunks();
  if (saved != nullptr) *saved = {call.empty({call.P, chunks, state_size}), call.empty({call.P, call.T, call.V})};
  // A token of one head is a microsecond: threads are for more than a few.
  const std::int64_t grain = std::max<std::int64_t>(1, 65536 / (call.T * state_size));
  call.parallel_heads(row, /*backward=*/false, grain, [&](std::int64_t p, float* workspace) {
    kernels::GatedDeltaHeadOutputs out{call.rows<float>(o, p)};
    if (state_BHKV != nullptr) out.state = head_part(*state_BHKV, p, state_size);
    if (saved != nullptr) {
      out.starts = head_part((*saved)[0], p, chunks * state_size);
      out.deltas = head_part((*saved)[1], p, call.T * call.V);
    }
    row.forward(call.head(p), out, workspace);
  });
  return o;
}

GatedDeltaInputs delta_fused_backward(const FusedGatedDelta& row, const at::Tensor& grad_o,
                                      const GatedDeltaInputs& inputs, const GatedDeltaSaved& saved) {
  const FusedDeltaCall call(inputs);
  const at::Tensor d_o = FusedDeltaCall::with_dense_rows(grad_o);
  const GatedDeltaInputs grad = {call.empty_rows(call.K), call.empty_rows(call.K), call.empty_rows(call.V),
                                 call.empty({call.B, call.H, call.T}), call.empty({call.B, call.H, call.T})};
  const std::int64_t state_size = call.K * call.V, chunks = call.head(0).chunks();
  call.parallel_heads(row, /*backward=*/true, /*grain=*/1, [&](std::int64_t p, float* workspace) {
    kernels::GatedDeltaHeadGradients d;
    d.o = call.rows<const float>(d_o, p);
    d.starts = head_part(saved[0], p, chunks * state_size), d.deltas = head_part(saved[1], p, call.T * call.V);
    d.dq = call.rows<float>(grad.q_BHTK, p), d.dk = call.rows<float>(grad.k_BHTK, p);
    d.dv = call.rows<float>(grad.v_BHTV, p);
    d.dg = head_part(grad.g_BHT, p, call.T), d.dbeta = head_part(grad.beta_BHT, p, call.T);
    row.backward(call.head(p), d, workspace);
  });
  return grad;
}

template <std::size_t kRow>
GatedDeltaKernel fused_delta_kernel() {
  return {{cat("fused_", kernels::fused_gated_delta()[kRow].name), needs_of(kernels::fused_gated_delta()[kRow])},
          {[](const GatedDeltaInputs& inputs, const at::Tensor* state_BHKV, GatedDeltaSaved* saved) {
             return delta_fused_forward(kernels::fused_gated_delta()[kRow], inputs, state_BHKV, saved);
           },
           [](const at::Tensor& grad_o, const GatedDeltaInputs& inputs, const GatedDeltaSaved& saved) {
             return delta_fused_backward(kernels::fused_gated_delta()[kRow], grad_o, inputs, saved);
           }}};
}

}  // namespace

std::vector<GatedDeltaKernel> fused_gated_delta_kernels() {
  // A row is a set of plain functions: one instance of each for every place in the list.
  std::vector<GatedDeltaKernel> rows;
  const std::size_t count = kernels::fused_gated_delta().size();
  if (count > 0) rows.push_back(fused_delta_kernel<0>());
  if (count > 1) rows.push_back(fused_delta_kernel<1>());
  if (count > 2) rows.push_back(fused_delta_kernel<2>());
  TTT_CHECK(count <= 3, "fused rows of the gated delta rule: ", count);
  return rows;
}

}  // namespace ttt
