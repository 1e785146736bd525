// SwiGLU's kernels.
#include "kernels/cuda/swiglu.h"

#include "kernels/cuda/launch.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

template <class Block, class Element, class Arguments>
void start(const char* name, const Arguments& p, Stream stream) {
  const std::int64_t vectors = swiglu_vectors<Element>(p.rows, p.width);
  TTT_CHECK(vectors <= std::numeric_limits<int>::max(), name, ", ", p.shape());
  launch<Block>(name, p, swiglu_blocks(vectors), stream);
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
