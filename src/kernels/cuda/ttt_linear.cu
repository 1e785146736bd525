// TTT-Linear's kernels.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ttt_linear_backward.h"
#include "kernels/cuda/ttt_linear_forward.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

template <class Element>
void forward(const TttLinearForward<Element>& p, Stream stream) {
  if (p.in.head_dim == 64)
    return launch<TttLinearForwardBlock<Element, 64, 4>>("ttt_linear_forward", p, p.in.blocks(), stream);
  TTT_CHECK(p.in.head_dim == 96, p.shape());
  launch<TttLinearForwardBlock<Element, 96, 6>>("ttt_linear_forward", p, p.in.blocks(), stream);
}
template <class Element>
void backward(const TttLinearBackward<Element>& p, Stream stream) {
  if (p.in.head_dim == 64)
    return launch<TttLinearBackwardBlock<Element, 64, 4>>("ttt_linear_backward", p, p.in.blocks(), stream);
  TTT_CHECK(p.in.head_dim == 96, p.shape());
  launch<TttLinearBackwardBlock<Element, 96, 6>>("ttt_linear_backward", p, p.in.blocks(), stream);
}

template <class Element>
void add(KernelTable& table) {
  table.add<TttLinearForward<Element>>(forward<Element>);
  table.add<TttLinearBackward<Element>>(backward<Element>);
  const std::string type = name_of<Element>();
  table.add_plan(plan_of<TttLinearForwardBlock<Element, 64, 4>>("ttt_linear", "forward " + type + " 64"));
  table.add_plan(plan_of<TttLinearForwardBlock<Element, 96, 6>>("ttt_linear", "forward " + type + " 96"));
  table.add_plan(plan_of<TttLinearBackwardBlock<Element, 64, 4>>("ttt_linear", "backward " + type + " 64"));
  table.add_plan(plan_of<TttLinearBackwardBlock<Element, 96, 6>>("ttt_linear", "backward " + type + " 96"));
}

}  // namespace

void add_ttt_linear(KernelTable& table) {
  add<std::uint16_t>(table);
  add<float>(table);
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
