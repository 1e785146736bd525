// Decoding on CUDA kernels: whole mini-batches of a long prompt run through the training kernel, what is before and
// after them token by token through the kernel of decoding.
#include "kernels/cuda/ttt_decode_args.h"
#include "ops/ttt_cuda_call.h"

namespace ttt {
namespace {

namespace cuda = kernels::cuda;

// Tokens [begin, begin + count).
TttInputs part(const TttInputs& inputs, std::int64_t begin, std::int64_t count) {
  TttInputs of = inputs;
  for (at::Tensor* x : {&of.q_BHTK, &of.k_BHTK, &of.v_BHTK, &of.sigma_BHT}) *x = x->narrow(2, begin, count);
  return of;
}

template <class Element>
void decode(TttKind kind, const TttInputs& inputs, TttState& state, const at::Tensor& o) {
  const CudaTttCall<Element> call(inputs);
  const TttWeights& w = state.weights;
  cuda::TttDecode<Element> p;
  p.in = call.inputs(), p.o = head_rows<Element>(o);
  p.mini_batch = static_cast<int>(state.k_BHCK.size(2)), p.num_open = static_cast<int>(state.num_open);
  p.hidden = kind == TttKind::kMlp ? static_cast<int>(w.w1.size(3)) : 0;
  p.w1 = data_of<float>(w.w1), p.b1 = data_of<float>(w.b1);
  p.w2 = data_of<float>(w.w2), p.b2 = data_of<float>(w.b2);
  p.k = data_of<float>(state.k_BHCK), p.g1 = data_of<float>(state.g1), p.x2 = data_of<float>(state.x2);
  p.g2 = data_of<float>(state.g2), p.sigma = data_of<float>(state.sigma_BHC);
  launch_cuda(call.device(), p);
  state.num_open = (state.num_open + call.T) % p.mini_batch;
}

// Whole mini-batches; none is open.
template <class Element>
void prefill(TttKind kind, const TttInputs& inputs, TttState& state, const at::Tensor& o) {
  const CudaTttCall<Element> call(inputs);
  const TttWeights& w = state.weights;
  if (kind == TttKind::kLinear) {
    cuda::TttLinearForward<Element> p;
    p.in = call.inputs(), p.o = head_rows<Element>(o), p.own_start = true;
    p.w = data_of<const float>(w.w1), p.b = data_of<const float>(w.b1);
    p.end_w = data_of<float>(w.w1), p.end_b = data_of<float>(w.b1);
    return launch_cuda(call.device(), p);
  }
  TTT_CHECK(w.w1.size(3) == 4 * call.K, "hidden width ", w.w1.size(3), " of head size ", call.K);
  const at::Tensor scratch =
      call.empty_floats({call.B, call.H, cuda::ttt_mlp_forward_scratch<Element>(static_cast<int>(call.K))});
  cuda::TttMlpForward<Element> p;
  p.in = call.inputs(), p.o = head_rows<Element>(o), p.own_start = true;
  p.w = weights_of<const float>(w), p.end = weights_of<float>(w), p.scratch = data_of<float>(scratch);
  launch_cuda(call.device(), p);
}

}  // namespace

at::Tensor cuda_ttt_advance(TttKind kind, const TttInputs& inputs, TttState& state) {
  const TttWeights& w = state.weights;
  for (const at::Tensor& x : {w.w1, w.b1, w.w2, w.b2, state.k_BHCK, state.g1, state.x2, state.g2, state.sigma_BHC})
    TTT_CHECK(!x.defined() || x.is_contiguous(), "the decoding state's tensors are changed in place");
  const std::int64_t T = inputs.q_BHTK.size(2), C = state.k_BHCK.size(2);
  const at::Tensor o = at::empty_like(inputs.q_BHTK.transpose(1, 2), at::MemoryFormat::Contiguous).transpose(1, 2);
  dispatch_elements(inputs.q_BHTK.scalar_type(), [&](auto element) {
    using Element = decltype(element);
    std::int64_t done = 0;
    const auto run = [&](auto pass, std::int64_t count) {
      if (count == 0) return;
      pass(kind, part(inputs, done, count), state, o.narrow(2, done, count));
      done += count;
    };
    run(decode<Element>, state.num_open == 0 ? 0 : std::min(T, C - state.num_open));
    if (state.num_open == 0) run(prefill<Element>, (T - done) / C * C);
    run(decode<Element>, T - done);
  });
  return o;
}

}  // namespace ttt
