// The `composed` row: cuts a call into pieces, moves their inputs and outputs, keeps the fast weights of every
// segment's start.
#include "ops/ttt_composed.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/error.h"
#include "ops/parallel.h"
#include "ops/ttt_kernels.h"

namespace ttt {

Steps::Steps(const at::Tensor& buffer, std::int64_t group) : all(buffer), slices(buffer.split(group, 0)) {}

Steps Steps::transposed() const {
  Steps out;
  out.all = all.transpose(1, 2);
  for (const at::Tensor& slice : slices) out.slices.push_back(slice.transpose(1, 2));
  return out;
}

Steps Steps::rows(std::int64_t begin, std::int64_t count) const {
  Steps out;
  out.all = all.narrow(1, begin, count);
  for (const at::Tensor& slice : slices) out.slices.push_back(slice.narrow(1, begin, count));
  return out;
}

TttPiece::TttPiece(const PieceSizes& sizes, const RowOps& rows, const at::Tensor& like)
    : sizes_(sizes), n_(sizes.segment * sizes.group), rows_(rows), options_(like.options().requires_grad(false)) {
  const auto [s, g, C, K, M] = sizes;
  qk_ = Steps(make({n_, 2 * C, K}), g);
  q = qk_.all.narrow(1, 0, C);
  k = qk_.all.narrow(1, C, C);
  target_ = Steps(make({n_, C, K}), g);
  target = target_.all;
  sigma = make({n_, C});
  e_ = Steps(make({n_, C}), g);
  ek_ = Steps(make({n_, C, K}), g);
  ek_t_ = ek_.transposed();
  a_ = make({n_, C, C});
  mask_ = make({n_, C, C});
  xh_ = Steps(make({n_, C, K}), g);
  r_ = Steps(make({n_, C}), g);
  ng_ = make({n_, C, K});
  xhq_ = make({n_, C, K});
  rq_ = make({n_, C});
  un_ = make({n_, C, C});
  dd_ = Steps(make({n_, C, K}), g);
  o = make({n_, C, K});
  dk = make({n_, C, K});
  dv = make({n_, C, K});
  dsigma = make({n_, C});
}

void TttPiece::begin_forward() {
  // e = s_{C-1} sigma;  A = Q K^T;  N = M (.) E (.) (A + 1);  e (.) K
  at::mul_out(e_.all, sigma, scale_C[sizes_.mini_batch - 1]);
  at::bmm_out(a_, q, k.transpose(1, 2));
  rows_.dual_mask(a_, sigma, scale_C, mask_);
  rows_.scale_rows(k, e_.all, ek_.all);
}

namespace {

// Moves heads [first_head, + g) (of B*H) and tokens [first_token, + s*C) between a tensor [B,H,T,cols] and a piece's
// buffer [s*g,C,cols], mini-batch outermost. Tokens past T are zero in the buffer and are not written back.
class Mover {
 public:
  Mover(const PieceSizes& sizes, std::int64_t first_head, std::int64_t first_token, bool use_loops)
      : sizes_(sizes), first_head_(first_head), first_token_(first_token), use_loops_(use_loops) {}

  void load(const at::Tensor& source_BHTX, const at::Tensor& buffer) const { move<true>(source_BHTX, buffer); }
  void store(const at::Tensor& buffer, const at::Tensor& target_BHTX) const { move<false>(target_BHTX, buffer); }

 private:
  template <bool kLoad>
  void move(const at::Tensor& tensor, const at::Tensor& buffer) const {
    const std::int64_t tokens = std::min(sizes_.segment * sizes_.mini_batch, tensor.size(2) - first_token_);
    if (use_loops_ && tensor.stride(3) == 1) return move_rows<kLoad>(tensor, buffer, tokens);
    // [g,s,C,cols] views of both sides
    const at::Tensor steps = buffer.unflatten(0, {sizes_.segment, sizes_.group}).transpose(0, 1);
    if (kLoad) {
      at::Tensor rows = tensor.flatten(0, 1).narrow(0, first_head_, sizes_.group).narrow(1, first_token_, tokens);
      rows = at::constant_pad_nd(rows, {0, 0, 0, sizes_.segment * sizes_.mini_batch - tokens});
      steps.copy_(rows.unflatten(1, {sizes_.segment, sizes_.mini_batch}));
    } else {
      TTT_CHECK(tensor.is_contiguous(), "strides ", tensor.strides());
      tensor.view({-1, tensor.size(2), tensor.size(3)})
          .narrow(0, first_head_, sizes_.group)
          .narrow(1, first_token_, tokens)
          .copy_(steps.flatten(1, 2).narrow(1, 0, tokens));
    }
  }

  template <bool kLoad>
  void move_rows(const at::Tensor& tensor, const at::Tensor& buffer, std::int64_t tokens) const {
    const std::int64_t item = tensor.element_size(), bytes = tensor.size(3) * item, heads = tensor.size(1);
    char* base = static_cast<char*>(tensor.data_ptr());
    char* out = static_cast<char*>(buffer.data_ptr());
    for (std::int64_t i = 0; i < sizes_.segment; ++i) {
      for (std::int64_t g = 0; g < sizes_.group; ++g) {
        const std::int64_t b = (first_head_ + g) / heads, h = (first_head_ + g) % heads;
        char* head = base + (b * tensor.stride(0) + h * tensor.stride(1)) * item;
        char* matrix = out + (i * sizes_.group + g) * buffer.stride(0) * item;
        for (std::int64_t c = 0; c < sizes_.mini_batch; ++c) {
          const std::int64_t token = i * sizes_.mini_batch + c;
          if (token < tokens) {
            char* row = head + (first_token_ + token) * tensor.stride(2) * item;
            if (kLoad) {
              std::memcpy(matrix + c * bytes, row, bytes);
            } else {
              std::memcpy(row, matrix + c * bytes, bytes);
            }
          } else if (kLoad) {
            std::memset(matrix + c * bytes, 0, bytes);
          }
        }
      }
    }
  }

  PieceSizes sizes_;
  std::int64_t first_head_, first_token_;
  bool use_loops_;
};

// One call: its sizes, its cut, and what its pieces share.
struct ComposedCall {
  ComposedCall(TttKind call_kind, const ComposedPlan& call_plan, const TttInputs& call_inputs,
               const TttWeights& initial, std::int64_t mini_batch)
      : kind(call_kind), plan(call_plan), inputs(call_inputs), C(mini_batch) {
    const at::Tensor& q = inputs.q_BHTK;
    B = q.size(0), H = q.size(1), T = q.size(2), K = q.size(3), P = B * H;
    M = kind == TttKind::kMlp ? initial.w1.size(2) : 0;
    steps = (T + C - 1) / C;
    segments = (steps + plan.segment - 1) / plan.segment;
    groups = (P + plan.group - 1) / plan.group;
    inputs.scale_C = inputs.scale_C.contiguous();
    gain_PK = inputs.gain_HK.repeat({B, 1});
    bias_PK = inputs.bias_HK.repeat({B, 1});
    weights = {initial.w1, initial.b1};
    if (kind == TttKind::kMlp) weights.insert(weights.end(), {initial.w2, initial.b2});
  }

  std::int64_t group_size(std::int64_t group) const { return std::min(plan.group, P - group * plan.group); }
  std::int64_t segment_size(std::int64_t segment) const {
    return std::min(plan.segment, steps - segment * plan.segment);
  }

  // body(first group, one past the last) on each thread, below autograd.
  template <class Body>
  void parallel_groups(const Body& body) const {
    const auto run = [&](std::int64_t begin, std::int64_t end) {
      const at::AutoDispatchBelowADInplaceOrView below_autograd;
      body(begin, end);
    };
    if (plan.use_loops) {
      parallel_ranges(groups, 1, run);
    } else {
      run(0, groups);
    }
  }

  TttKind kind;
  ComposedPlan plan;
  TttInputs inputs;
  std::int64_t B, H, T, K, P, M, C;
  std::int64_t steps, segments, groups;
  at::Tensor gain_PK, bias_PK;
  std::vector<at::Tensor> weights;  // learned: [H,K,K], [H,1,K], ...
};

// A thread's pieces, one for each size that occurs (the last segment and the last group may be smaller).
class Pieces {
 public:
  explicit Pieces(const ComposedCall& call) : call_(call) {}

  // The piece for (group, segment), its inputs loaded.
  TttPiece& load(std::int64_t group, std::int64_t segment) {
    const std::int64_t s = call_.segment_size(segment), g = call_.group_size(group);
    std::unique_ptr<TttPiece>& piece = pieces_[{s, g}];
    const PieceSizes sizes{s, g, call_.C, call_.K, call_.M};
    if (!piece) {
      const RowOps rows(call_.plan.use_loops, g);
      const auto make = call_.kind == TttKind::kLinear ? make_linear_piece : make_mlp_piece;
      piece = make(sizes, rows, call_.inputs.q_BHTK);
      piece->scale_C = call_.inputs.scale_C;
    }
    const std::int64_t head = group * call_.plan.group;
    const Mover mover = this->mover(group, segment);
    mover.load(call_.inputs.q_BHTK, piece->q);
    mover.load(call_.inputs.k_BHTK, piece->k);
    mover.load(call_.inputs.v_BHTK, piece->target);
    mover.load(call_.inputs.sigma_BHT.unsqueeze(-1), piece->sigma.unsqueeze(-1));
    piece->target.sub_(piece->k);
    piece->gain = call_.gain_PK.narrow(0, head, g);
    piece->bias = call_.bias_PK.narrow(0, head, g);
    return *piece;
  }

  Mover mover(std::int64_t group, std::int64_t segment) const {
    return {{call_.segment_size(segment), call_.group_size(group), call_.C, call_.K, call_.M},
            group * call_.plan.group,
            segment * call_.plan.segment * call_.C,
            call_.plan.use_loops};
  }

 private:
  const ComposedCall& call_;
  std::map<std::pair<std::int64_t, std::int64_t>, std::unique_ptr<TttPiece>> pieces_;
};

void copy_all(const std::vector<at::Tensor>& from, const std::vector<at::Tensor>& to) {
  for (std::size_t i = 0; i < from.size(); ++i) to[i].copy_(from[i]);
}

// Heads of `group` of every tensor [P,...].
std::vector<at::Tensor> heads_of(const ComposedCall& call, const std::vector<at::Tensor>& tensors, std::int64_t group) {
  std::vector<at::Tensor> out;
  for (const at::Tensor& t : tensors) out.push_back(t.narrow(0, group * call.plan.group, call.group_size(group)));
  return out;
}

at::Tensor composed_row_forward(TttKind kind, const TttInputs& inputs, const TttWeights& initial,
                                std::int64_t mini_batch_size, TttSaved* saved) {
  return composed_forward(kind, plan_composed(kind, shape_of(inputs, mini_batch_size)), inputs, initial,
                          mini_batch_size, saved);
}

TttGradients composed_row_backward(TttKind kind, const at::Tensor& grad_o_BHTK, const TttInputs& inputs,
                                   const TttWeights& initial, std::int64_t mini_batch_size, const TttSaved& saved) {
  return composed_backward(kind, plan_composed(kind, shape_of(inputs, mini_batch_size)), grad_o_BHTK, inputs, initial,
                           mini_batch_size, saved);
}

}  // namespace

TttKernel composed_ttt_kernel() {
  return {{"composed", {.dtypes = {at::kFloat, at::kDouble}}}, {composed_row_forward, composed_row_backward}};
}

ComposedPlan plan_composed(TttKind kind, const TttShape& shape) {
  const std::int64_t heads = shape.batch * shape.heads;
  if (!shape.device.is_cpu()) return {16, heads, false};
  // Groups: small enough for a core's caches, and as many for each thread.
  const std::int64_t largest = kind == TttKind::kLinear ? 4 : 2, threads = at::get_num_threads();
  std::int64_t groups = (heads + largest - 1) / largest;
  groups = std::min(heads, (groups + threads - 1) / threads * threads);
  return {8, (heads + groups - 1) / groups, true};
}

at::Tensor composed_forward(TttKind kind, const ComposedPlan& plan, const TttInputs& inputs, const TttWeights& initial,
                            std::int64_t mini_batch_size, TttSaved* saved) {
  const ComposedCall call(kind, plan, inputs, initial, mini_batch_size);
  const at::TensorOptions options = inputs.q_BHTK.options().requires_grad(false);
  const at::Tensor o_BHTK = at::empty(inputs.q_BHTK.sizes(), options);
  // The learned weights by head of the batch: [P,K,K], [P,K], ... (matrices as they are, biases without their row
  // dimension)
  std::vector<at::Tensor> starts;
  for (const at::Tensor& w : call.weights) {
    const at::Tensor start = w.repeat({call.B, 1, 1});
    starts.push_back(starts.size() % 2 == 1 ? start.squeeze(1) : start);
  }
  if (saved != nullptr) {
    for (const at::Tensor& start : starts) {
      std::vector<std::int64_t> sizes = start.sizes().vec();
      sizes.insert(sizes.begin(), call.segments);
      saved->push_back(at::empty(sizes, options));
    }
  }
  call.parallel_groups([&](std::int64_t begin, std::int64_t end) {
    Pieces pieces(call);
    for (std::int64_t group = begin; group < end; ++group) {
      std::vector<at::Tensor> state = heads_of(call, starts, group);
      for (std::int64_t segment = 0; segment < call.segments; ++segment) {
        TttPiece& piece = pieces.load(group, segment);
        copy_all(state, piece.first_state());
        if (saved != nullptr) {
          std::vector<at::Tensor> kept;
          for (const at::Tensor& t : *saved) kept.push_back(t[segment]);
          copy_all(state, heads_of(call, kept, group));
        }
        piece.forward(/*want_output=*/true, /*want_last_state=*/segment + 1 < call.segments);
        pieces.mover(group, segment).store(piece.o, o_BHTK);
        state = piece.last_state();
      }
    }
  });
  return o_BHTK;
}

TttGradients composed_backward(TttKind kind, const ComposedPlan& plan, const at::Tensor& grad_o_BHTK,
                               const TttInputs& inputs, const TttWeights& initial, std::int64_t mini_batch_size,
                               const TttSaved& saved) {
  const ComposedCall call(kind, plan, inputs, initial, mini_batch_size);
  const at::TensorOptions options = inputs.q_BHTK.options().requires_grad(false);
  const at::Tensor dq = at::empty(inputs.q_BHTK.sizes(), options),
                   dk = at::empty_like(dq, at::MemoryFormat::Contiguous), dv = at::empty_like(dk),
                   dsigma = at::empty(inputs.sigma_BHT.sizes(), options);
  // By head of the batch, added up over the batch at the end: the result does not depend on how the heads were grouped.
  const at::Tensor dgain_PK = at::zeros({call.P, call.K}, options), dbias_PK = at::zeros({call.P, call.K}, options),
                   dscale_PC = at::zeros({call.P, call.C}, options);
  std::vector<at::Tensor> dweights;
  for (const at::Tensor& kept : saved) dweights.push_back(at::empty(kept.sizes().slice(1), options));
  call.parallel_groups([&](std::int64_t begin, std::int64_t end) {
    Pieces pieces(call);
    for (std::int64_t group = begin; group < end; ++group) {
      const std::vector<at::Tensor> dstate = heads_of(call, dweights, group);
      for (const at::Tensor& t : dstate) t.zero_();  // nobody reads the state after the last mini-batch
      const std::vector<at::Tensor> dparameters = heads_of(call, {dgain_PK, dbias_PK, dscale_PC}, group);
      for (std::int64_t segment = call.segments - 1; segment >= 0; --segment) {
        TttPiece& piece = pieces.load(group, segment);
        std::vector<at::Tensor> kept;
        for (const at::Tensor& t : saved) kept.push_back(t[segment]);
        copy_all(heads_of(call, kept, group), piece.first_state());
        piece.forward(/*want_output=*/false, /*want_last_state=*/false);

        const Mover mover = pieces.mover(group, segment);
        mover.load(grad_o_BHTK, piece.o);
        piece.dgain = dparameters[0], piece.dbias = dparameters[1], piece.dscale = dparameters[2];
        copy_all(dstate, piece.state_gradient());
        piece.backward();
        copy_all(piece.state_gradient(), dstate);
        mover.store(piece.o, dq);
        mover.store(piece.dk, dk);
        mover.store(piece.dv, dv);
        mover.store(piece.dsigma.unsqueeze(-1), dsigma.unsqueeze(-1));
      }
    }
  });
  const auto over_batch = [&](const at::Tensor& x) { return x.unflatten(0, {call.B, call.H}).sum(0); };
  TttGradients grad;
  grad.inputs = {dq, dk, dv, dsigma, dscale_PC.sum(0), over_batch(dgain_PK), over_batch(dbias_PK)};
  const auto weight = [&](std::size_t i) { return over_batch(dweights[i]).view(call.weights[i].sizes()); };
  grad.initial = {weight(0), weight(1), {}, {}};
  if (kind == TttKind::kMlp) grad.initial.w2 = weight(2), grad.initial.b2 = weight(3);
  return grad;
}

}  // namespace ttt
