// The tensors of a TTT call as its CUDA kernels take them. Shared by ttt_cuda.cpp and ttt_cuda_decode.cpp.
//
// Shapes: B batch, H heads, P = B*H, T time, K head size, M hidden width of TTT-MLP, C mini-batch.
#pragma once

#include <ATen/ATen.h>

#include "kernels/cuda/ttt_mlp_args.h"
#include "ops/cuda_target.h"
#include "ops/cuda_values.h"
#include "ops/ttt_kernels.h"

namespace ttt {

// Rows that the kernels can copy by 16 bytes.
inline at::Tensor rows_of_16_bytes(const at::Tensor& x) {
  const auto step = 16 / x.element_size();
  bool aligned = x.stride(3) == 1 && reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % 16 == 0;
  for (int dim = 0; dim < 3; ++dim) aligned = aligned && (x.size(dim) == 1 || x.stride(dim) % step == 0);
  return aligned ? x : x.clone(at::MemoryFormat::Contiguous);
}

// fp32 fast weights of TTT-MLP's learned start [H,...] or of every sequence [B,H,...].
template <class T>
kernels::cuda::TttMlpWeights<T> weights_of(const TttWeights& w) {
  return {data_of<T>(w[0]), data_of<T>(w[1]), data_of<T>(w[2]), data_of<T>(w[3])};
}

template <class Element>
class CudaTttCall {
 public:
  explicit CudaTttCall(const TttInputs& inputs)
      : B(inputs.q_BHTK.size(0)),
        H(inputs.q_BHTK.size(1)),
        T(inputs.q_BHTK.size(2)),
        K(inputs.q_BHTK.size(3)),
        q_(rows_of_16_bytes(inputs.q_BHTK)),
        k_(rows_of_16_bytes(inputs.k_BHTK)),
        v_(rows_of_16_bytes(inputs.v_BHTK)),
        sigma_(inputs.sigma_BHT),
        scale_(inputs.scale_C.contiguous()),
        gain_(inputs.gain_HK.contiguous()),
        bias_(inputs.bias_HK.contiguous()) {}

  kernels::cuda::TttInputs<Element> inputs() const {
    kernels::cuda::TttInputs<Element> in;
    in.sequences = B, in.heads = static_cast<int>(H), in.time = T, in.head_dim = static_cast<int>(K);
    in.q = head_rows<const Element>(q_), in.k = head_rows<const Element>(k_), in.v = head_rows<const Element>(v_);
    in.sigma = head_rows<const float>(sigma_);
    in.scale = data_of<const float>(scale_), in.gain = data_of<const float>(gain_);
    in.bias = data_of<const float>(bias_);
    return in;
  }

  // [B,H,T,K] over memory of [B,T,H,K].
  at::Tensor empty_rows() const { return at::empty({B, T, H, K}, elements()).transpose(1, 2); }
  at::Tensor empty(at::IntArrayRef sizes) const { return at::empty(sizes, elements()); }
  at::Tensor empty_floats(at::IntArrayRef sizes) const { return at::empty(sizes, elements().dtype(at::kFloat)); }
  at::Device device() const { return q_.device(); }

  std::int64_t mini_batches() const { return (T + kernels::cuda::kMiniBatch - 1) / kernels::cuda::kMiniBatch; }
  std::int64_t segments(std::int64_t segment) const { return (T / kernels::cuda::kMiniBatch + segment - 1) / segment; }

  const std::int64_t B, H, T, K;

 private:
  at::TensorOptions elements() const { return q_.options().requires_grad(false); }

  at::Tensor q_, k_, v_, sigma_, scale_, gain_, bias_;
};

inline TttWeights contiguous_weights(const TttWeights& w) {
  TttWeights packed;
  for (const at::Tensor& x : w) packed.push_back(x.contiguous());
  return packed;
}

// Whether the forward kernel's block fits into the shared memory of that tensor's GPU.
bool cuda_ttt_forward_fits(const TttNet& net, const at::Tensor& q_BHTK);

// Decoding, see ttt_advance() (ttt_cuda_decode.cpp).
at::Tensor cuda_ttt_advance(const TttNet&, const TttInputs& inputs, TttState& state);

}  // namespace ttt
