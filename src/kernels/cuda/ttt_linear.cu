// TTT-Linear's kernels, compiled for GPUs.
#include "kernels/cuda/ttt_linear_backward.h"
#include "kernels/cuda/ttt_linear_forward.h"

namespace ttt::kernels::cuda {

template <class Element, int kHeadDim, int kWarps>
__global__ void __launch_bounds__(32 * kWarps) ttt_linear_forward(const __grid_constant__ TttLinearForward<Element> p) {
  extern __shared__ __align__(128) char shared[];
  TttLinearForwardBlock<Element, kHeadDim, kWarps>(p, shared).run();
}
template <class Element, int kHeadDim, int kWarps>
__global__ void __launch_bounds__(32 * kWarps)
    ttt_linear_backward(const __grid_constant__ TttLinearBackward<Element> p) {
  extern __shared__ __align__(128) char shared[];
  TttLinearBackwardBlock<Element, kHeadDim, kWarps>(p, shared).run();
}

template __global__ void ttt_linear_forward<std::uint16_t, 64, 4>(
    const __grid_constant__ TttLinearForward<std::uint16_t>);
template __global__ void ttt_linear_forward<std::uint16_t, 96, 6>(
    const __grid_constant__ TttLinearForward<std::uint16_t>);
template __global__ void ttt_linear_forward<float, 64, 4>(const __grid_constant__ TttLinearForward<float>);
template __global__ void ttt_linear_forward<float, 96, 6>(const __grid_constant__ TttLinearForward<float>);
template __global__ void ttt_linear_backward<std::uint16_t, 64, 4>(
    const __grid_constant__ TttLinearBackward<std::uint16_t>);
template __global__ void ttt_linear_backward<std::uint16_t, 96, 6>(
    const __grid_constant__ TttLinearBackward<std::uint16_t>);
template __global__ void ttt_linear_backward<float, 64, 4>(const __grid_constant__ TttLinearBackward<float>);
template __global__ void ttt_linear_backward<float, 96, 6>(const __grid_constant__ TttLinearBackward<float>);

}  // namespace ttt::kernels::cuda
