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

#define TTT_INSTANTIATE(Element, head_dim, warps)                         \
  template __global__ void ttt_linear_forward<Element, head_dim, warps>(  \
      const __grid_constant__ TttLinearForward<Element>);                 \
  template __global__ void ttt_linear_backward<Element, head_dim, warps>( \
      const __grid_constant__ TttLinearBackward<Element>)
TTT_INSTANTIATE(std::uint16_t, 64, 4);
TTT_INSTANTIATE(std::uint16_t, 96, 6);
TTT_INSTANTIATE(float, 64, 4);
TTT_INSTANTIATE(float, 96, 6);
#undef TTT_INSTANTIATE

}  // namespace ttt::kernels::cuda
