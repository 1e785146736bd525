// SwiGLU's kernels.
#include "kernels/cuda/swiglu.h"

#include "kernels/cuda/launch.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

// Eight blocks for each multiprocessor of an H100, or fewer where there is less to do.
template <class Block, class Element, class Arguments>
void start(const char* name, const Arguments& p, Stream stream) {
  const std::int64_t n = kSwigluVector<Element>, vectors = p.rows * ((p.width + n - 1) / n);
  TTT_CHECK(vectors <= std::numeric_limits<int>::max(), name, ", ", p.shape());
  launch<Block>(name, p, std::min<std::int64_t>((vectors + Block::kThreads - 1) / Block::kThreads, 8 * 132), stream);
}
template <class Element>
void forward(const SwigluForward<Element>& p, Stream stream) {
  start<SwigluForwardBlock<Element>, Element>("swiglu_forward", p, stream);
}
template <class Element>
void backward(const SwigluBackward<Element>& p, Stream stream) {
  start<SwigluBackwardBlock<Element>, Element>("swiglu_backward", p, stream);
}

template <class Element>
void add(KernelTable& table) {
  table.add<SwigluForward<Element>>(forward<Element>);
  table.add<SwigluBackward<Element>>(backward<Element>);
  const std::string type = name_of<Element>();
  table.add_plan(plan_of<SwigluForwardBlock<Element>>("swiglu", "forward " + type));
  table.add_plan(plan_of<SwigluBackwardBlock<Element>>("swiglu", "backward " + type));
}

}  // namespace

void add_swiglu(KernelTable& table) {
  add<std::uint16_t>(table);
  add<float>(table);
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
