// The fused rows of the TTT kernel table: hands heads, their strides and a workspace to kernels/cpu/ttt_fused.h.
//
// Outputs and gradients of q, k, v lie in memory as [B,T,H,K], as the layers around have them.
// Kept for the backward pass: the fast weights of every segment's start, [B*H, segments, state_size], and of every
// mini-batch what kernels/cpu/ttt_fused.h says, [B*H, mini_batches, kept_size]. For K = 64, C = 16 that is 0.9 KiB a
// token and head for TTT-Linear, 1.1 KiB for TTT-MLP.
//
// Shapes: B batch, H heads, P = B*H, T time, K head size, M hidden width of TTT-MLP, C mini-batch.
#include "kernels/cpu/ttt_fused.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "ops/parallel.h"
#include "ops/ttt_kernels.h"

namespace ttt {
namespace {

using kernels::FusedTtt;
using kernels::HeadRows;
using kernels::TttHead;

// Mini-batches. TTT-MLP's states are what it keeps most of; longer segments than these leave the caches.
constexpr std::int64_t kLinearSegment = 8, kMlpSegment = 16;

at::Tensor with_rows(const at::Tensor& x) {
  return x.stride(-1) == 1 ? x : x.contiguous();
}

// The tensors of a call in a form that heads can be taken from.
class FusedCall {
 public:
  // initial: w1, b1 or w1, b1, w2, b2; none in decoding, whose weights are the state's.
  FusedCall(const TttInputs& inputs, const TttWeights& initial, std::int64_t mini_batch)
      : B(inputs.q_BHTK.size(0)),
        H(inputs.q_BHTK.size(1)),
        T(inputs.q_BHTK.size(2)),
        K(inputs.q_BHTK.size(3)),
        P(B * H),
        C(mini_batch),
        q_(with_rows(inputs.q_BHTK)),
        k_(with_rows(inputs.k_BHTK)),
        v_(with_rows(inputs.v_BHTK)),
        sigma_(inputs.sigma_BHT),
        scale_(inputs.scale_C.contiguous()),
        gain_(inputs.gain_HK.contiguous()),
        bias_(inputs.bias_HK.contiguous()) {
    for (const at::Tensor& w : initial) weights_.push_back(w.contiguous());
  }

  TttHead head(std::int64_t p) const {
    const std::int64_t h = p % H;
    const bool mlp = weights_.size() > 2;
    TttHead head;
    head.time = T, head.head_dim = K, head.hidden = mlp ? weights_[0].size(2) : 0, head.mini_batch = C;
    head.segment = mlp ? kMlpSegment : kLinearSegment;
    head.q = rows<const float>(q_, p), head.k = rows<const float>(k_, p), head.v = rows<const float>(v_, p);
    head.sigma = rows<const float>(sigma_, p);
    head.scale = scale_.const_data_ptr<float>();
    head.gain = of_head(gain_, h), head.bias = of_head(bias_, h);
    if (!weights_.empty()) head.w1 = of_head(weights_[0], h), head.b1 = of_head(weights_[1], h);
    if (mlp) head.w2 = of_head(weights_[2], h), head.b2 = of_head(weights_[3], h);
    return head;
  }

  // The rows of head p of a tensor [B,H,T] or [B,H,T,K].
  template <class T>
  HeadRows<T> rows(const at::Tensor& x, std::int64_t p) const {
    return {static_cast<T*>(x.data_ptr()) + p / H * x.stride(0) + p % H * x.stride(1), x.stride(2)};
  }

  // [B,H,T,K] over memory of [B,T,H,K].
  at::Tensor empty_rows() const { return at::empty({B, T, H, K}, options()).transpose(1, 2); }
  at::Tensor empty(at::IntArrayRef sizes) const { return at::empty(sizes, options()); }

  // body(p, workspace) for every head, over the threads.
  template <class Body>
  void parallel_heads(const FusedTtt& row, bool backward, const Body& body) const {
    const std::int64_t floats = row.workspace(head(0), backward);
    parallel_ranges(P, 1, [&](std::int64_t begin, std::int64_t end) {
      const at::Tensor workspace = empty({floats});
      for (std::int64_t p = begin; p < end; ++p) body(p, workspace.mutable_data_ptr<float>());
    });
  }

  const std::int64_t B, H, T, K, P, C;

 private:
  at::TensorOptions options() const { return q_.options().requires_grad(false); }
  static const float* of_head(const at::Tensor& x, std::int64_t h) {
    return x.const_data_ptr<float>() + h * x.stride(0);
  }

  at::Tensor q_, k_, v_, sigma_, scale_, gain_, bias_;
  TttWeights weights_;
};

KernelNeeds needs_of(const FusedTtt& row) {
  return {.place = KernelPlace::kCpu,
          .dtypes = {at::kFloat},
          .instructions = row.name,
          .processor_has = row.supported,
          .head_dim_multiple = 16,
          .bf16_products = row.bf16_products,
          .no_variants = true};
}

// The part of head p of a tensor [B*H, ...]; null where there is none (TTT-MLP keeps no activations).
float* of(const at::Tensor& x, std::int64_t p) {
  return x.numel() == 0 ? nullptr : x.mutable_data_ptr<float>() + p * x.stride(0);
}

at::Tensor forward(const FusedTtt& row, const TttInputs& inputs, const TttWeights& initial, std::int64_t mini_batch,
                   TttSaved* saved) {
  const FusedCall call(inputs, initial, mini_batch);
  const at::Tensor o = call.empty_rows();
  const TttHead any = call.head(0);
  if (saved != nullptr) {
    saved->push_back(call.empty({call.P, any.segments(), any.state_size()}));
    saved->push_back(call.empty({call.P, any.mini_batches(), any.kept_size()}));
  }
  call.parallel_heads(row, /*backward=*/false, [&](std::int64_t p, float* workspace) {
    kernels::TttHeadOutputs out{call.rows<float>(o, p)};
    if (saved != nullptr) out.starts = of((*saved)[0], p), out.kept = of((*saved)[1], p);
    row.forward(call.head(p), out, workspace);
  });
  return o;
}

TttGradients backward(const FusedTtt& row, const at::Tensor& grad_o, const TttInputs& inputs, const TttWeights& initial,
                      std::int64_t mini_batch, const TttSaved& saved) {
  const FusedCall call(inputs, initial, mini_batch);
  const at::Tensor d_o = with_rows(grad_o), dq = call.empty_rows(), dk = call.empty_rows(), dv = call.empty_rows();
  const at::Tensor dsigma = call.empty({call.B, call.H, call.T});
  // By head of the batch, added up over the batch below, always in the same order.
  const std::int64_t size = call.head(0).state_size();
  const at::Tensor dscale = call.empty({call.P, call.C}), dgain = call.empty({call.P, call.K}),
                   dbias = call.empty({call.P, call.K}), dstate = call.empty({call.P, size});
  call.parallel_heads(row, /*backward=*/true, [&](std::int64_t p, float* workspace) {
    kernels::TttHeadGradients d;
    d.o = call.rows<const float>(d_o, p);
    d.starts = of(saved[0], p), d.kept = of(saved[1], p);
    d.dq = call.rows<float>(dq, p), d.dk = call.rows<float>(dk, p), d.dv = call.rows<float>(dv, p);
    d.dsigma = dsigma.mutable_data_ptr<float>() + p * call.T;
    d.dscale = of(dscale, p), d.dgain = of(dgain, p), d.dbias = of(dbias, p), d.dstate = of(dstate, p);
    row.backward(call.head(p), d, workspace);
  });
  const auto over_batch = [&](const at::Tensor& x) { return x.unflatten(0, {call.B, call.H}).sum(0); };
  TttGradients grad;
  grad.inputs = {dq, dk, dv, dsigma, dscale.sum(0), over_batch(dgain), over_batch(dbias)};
  const at::Tensor state = over_batch(dstate);
  // The state's parts, see TttHead::state_size().
  std::int64_t at = 0;
  const auto next = [&](const at::Tensor& like, std::int64_t step) {  // step: between rows
    const std::int64_t rows = like.size(1), cols = like.size(2), first = at;
    at += rows * step;
    return state.narrow(1, first, rows * step).unflatten(1, {rows, step}).narrow(2, 0, cols).contiguous();
  };
  for (std::size_t i = 0; i < initial.size(); ++i) {
    const std::int64_t cols = initial[i].size(2);
    grad.initial.push_back(next(initial[i], i == 0 && initial.size() > 2 ? call.head(0).hidden_step() : cols));
  }
  return grad;
}

at::Tensor advance(const FusedTtt& row, const TttInputs& inputs, TttState& state) {
  const FusedCall call(inputs, {}, state.mini_batch());
  const TttWeights& w = state.weights;
  const bool mlp = w.size() > 2;
  for (const at::Tensor* x : state.tensors())
    TTT_CHECK(x->is_contiguous(), "the decoding state's tensors are changed in place");
  const std::int64_t hidden = mlp ? w[0].size(3) : 0;
  const auto head = [&](std::int64_t p) {
    TttHead part = call.head(p);
    part.hidden = hidden;
    return part;
  };
  const auto part = [](const at::Tensor& x, std::int64_t p) {  // of a tensor [B,H,...]
    return x.mutable_data_ptr<float>() + p * x.stride(1);
  };
  const at::Tensor o = call.empty_rows();
  // A token of one head is a microsecond of TTT-Linear: threads are for more than a few.
  const std::int64_t work = call.T * std::max(call.K, hidden) * call.K, grain = std::max<std::int64_t>(1, 65536 / work);
  parallel_ranges(call.P, grain, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor workspace = call.empty({row.decode_workspace(head(begin))});
    for (std::int64_t p = begin; p < end; ++p) {
      kernels::TttDecodeState s;
      s.w1 = part(w[0], p), s.b1 = part(w[1], p);
      s.k = part(state.x[0], p), s.g1 = part(state.g[0], p);
      s.sigma = part(state.sigma_BHC, p), s.num_open = state.num_open;
      if (mlp) s.w2 = part(w[2], p), s.b2 = part(w[3], p), s.x2 = part(state.x[1], p), s.g2 = part(state.g[1], p);
      row.decode(head(p), s, call.rows<float>(o, p), workspace.mutable_data_ptr<float>());
    }
  });
  state.num_open = (state.num_open + call.T) % call.C;
  return o;
}

template <std::size_t kRow>
TttKernel kernel() {
  const FusedTtt& row = kernels::fused_ttt()[kRow];
  const TttFunctions run{
      [](const TttNet&, const TttInputs& inputs, const TttWeights& initial, std::int64_t mini_batch, TttSaved* saved) {
        return forward(kernels::fused_ttt()[kRow], inputs, initial, mini_batch, saved);
      },
      [](const TttNet&, const at::Tensor& grad_o, const TttInputs& inputs, const TttWeights& initial,
         std::int64_t mini_batch, const TttSaved& saved) {
        return backward(kernels::fused_ttt()[kRow], grad_o, inputs, initial, mini_batch, saved);
      },
      [](const TttNet&, const TttInputs& inputs, TttState& state) {
        return advance(kernels::fused_ttt()[kRow], inputs, state);
      }};
  return {{cat("fused_", row.name), needs_of(row)}, run};
}

}  // namespace

std::vector<TttKernel> fused_ttt_kernels() {
  // A row is a set of plain functions: one instance of each for every place in the list.
  std::vector<TttKernel> rows;
  const std::size_t count = kernels::fused_ttt().size();
  if (count > 0) rows.push_back(kernel<0>());
  if (count > 1) rows.push_back(kernel<1>());
  if (count > 2) rows.push_back(kernel<2>());
  if (count > 3) rows.push_back(kernel<3>());
  if (count > 4) rows.push_back(kernel<4>());
  TTT_CHECK(count <= 5, "fused TTT rows: ", count);
  return rows;
}

}  // namespace ttt
