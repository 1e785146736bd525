// Decoding on CUDA kernels: whole mini-batches of a long prompt run through the training kernel, where its blocks fit
// into this GPU's shared memory; what is before and after them token by token through the kernel of decoding.
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
void decode(const TttInputs& inputs, TttState& state, const at::Tensor& o) {
  const CudaTttCall<Element> call(inputs);
  const TttWeights& w = state.weights;
  cuda::TttDecode<Element> p;
  p.in = call.inputs(), p.o = head_rows<Element>(o);
  p.mini_batch = static_cast<int>(state.mini_batch()), p.num_open = static_cast<int>(state.num_open);
  p.w1 = data_of<float>(w[0]), p.b1 = data_of<float>(w[1]);
  p.k = data_of<float>(state.x[0]), p.g1 = data_of<float>(state.g[0]), p.sigma = data_of<float>(state.sigma_BHC);
  if (w.size() > 2) {
    p.hidden = static_cast<int>(w[0].size(3));
    p.w2 = data_of<float>(w[2]), p.b2 = data_of<float>(w[3]);
    p.x2 = data_of<float>(state.x[1]), p.g2 = data_of<float>(state.g[1]);
  }
  launch_cuda(call.device(), p);
  state.num_open = (state.num_open + call.T) % p.mini_batch;
}

// Whole mini-batches; none is open.
template <class Element>
void prefill(const TttInputs& inputs, TttState& state, const at::Tensor& o) {
  const CudaTttCall<Element> call(inputs);
  const TttWeights& w = state.weights;
  if (w.size() == 2) {
    cuda::TttLinearForward<Element> p;
    p.in = call.inputs(), p.o = head_rows<Element>(o), p.own_start = true;
    p.w = data_of<const float>(w[0]), p.b = data_of<const float>(w[1]);
    p.end_w = data_of<float>(w[0]), p.end_b = data_of<float>(w[1]);
    return launch_cuda(call.device(), p);
  }
  TTT_CHECK(w[0].size(3) == 4 * call.K, "hidden width ", w[0].size(3), " of head size ", call.K);
  const at::Tensor scratch =
      call.empty_floats({call.B, call.H, cuda::ttt_mlp_forward_scratch<Element>(static_cast<int>(call.K))});
  cuda::TttMlpForward<Element> p;
  p.in = call.inputs(), p.o = head_rows<Element>(o), p.own_start = true;
  p.w = weights_of<const float>(w), p.end = weights_of<float>(w), p.scratch = data_of<float>(scratch);
  launch_cuda(call.device(), p);
}

}  // namespace

at::Tensor cuda_ttt_advance(const TttNet& net, const TttInputs& inputs, TttState& state) {
  for (const at::Tensor* x : state.tensors())
    TTT_CHECK(x->is_contiguous(), "the decoding state's tensors are changed in place");
  const std::int64_t T = inputs.q_BHTK.size(2), C = state.mini_batch();
  const at::Tensor o = at::empty_like(inputs.q_BHTK.transpose(1, 2), at::MemoryFormat::Contiguous).transpose(1, 2);
  dispatch_elements(inputs.q_BHTK.scalar_type(), [&](auto element) {
    using Element = decltype(element);
    std::int64_t done = 0;
    const auto run = [&](auto pass, std::int64_t count) {
      if (count == 0) return;
      pass(part(inputs, done, count), state, o.narrow(2, done, count));
      done += count;
    };
    run(decode<Element>, state.num_open == 0 ? 0 : std::min(T, C - state.num_open));
    if (state.num_open == 0 && cuda_ttt_forward_fits(net, inputs.q_BHTK)) run(prefill<Element>, (T - done) / C * C);
    run(decode<Element>, T - done);
  });
  return o;
}

}  // namespace ttt
