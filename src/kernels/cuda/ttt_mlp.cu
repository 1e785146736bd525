// TTT-MLP's kernels.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ttt_mlp_backward.h"
#include "kernels/cuda/ttt_mlp_forward.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

template <class Element>
void forward(const TttMlpForward<Element>& p, Stream stream) {
  if (p.in.head_dim == 64) return launch<TttMlpForwardBlock<Element, 64>>("ttt_mlp_forward", p, p.in.blocks(), stream);
  TTT_CHECK(p.in.head_dim == 96, p.shape());
  launch<TttMlpForwardBlock<Element, 96>>("ttt_mlp_forward", p, p.in.blocks(), stream);
}
template <class Element>
void backward(const TttMlpBackward<Element>& p, Stream stream) {
  if (p.in.head_dim == 64)
    return launch<TttMlpBackwardBlock<Element, 64>>("ttt_mlp_backward", p, p.in.blocks(), stream);
  TTT_CHECK(p.in.head_dim == 96, p.shape());
  launch<TttMlpBackwardBlock<Element, 96>>("ttt_mlp_backward", p, p.in.blocks(), stream);
}

template <class Element>
void add(KernelTable& table) {
  table.add<TttMlpForward<Element>>(forward<Element>);
  table.add<TttMlpBackward<Element>>(backward<Element>);
  const std::string type = name_of<Element>();
  table.add_plan(plan_of<TttMlpForwardBlock<Element, 64>>("ttt_mlp", "forward " + type + " 64"));
  table.add_plan(plan_of<TttMlpForwardBlock<Element, 96>>("ttt_mlp", "forward " + type + " 96"));
  table.add_plan(plan_of<TttMlpBackwardBlock<Element, 64>>("ttt_mlp", "backward " + type + " 64"));
  table.add_plan(plan_of<TttMlpBackwardBlock<Element, 96>>("ttt_mlp", "backward " + type + " 96"));
}

}  // namespace

void add_ttt_mlp(KernelTable& table) {
  add<std::uint16_t>(table);
  add<float>(table);
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
