// The causal convolution's kernels: in vectors of 8 channels (backwards 4, whose sums fill the registers), and of any
// width and alignment.
#include "kernels/cuda/causal_conv.h"

#include "kernels/cuda/launch.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

template <class Element>
void forward(const CausalConvForward<Element>& p, Stream stream) {
  using Fast = CausalConvForwardBlock<Element, 8>;
  using Any = CausalConvForwardBlock<Element, 1>;
  if (vectors_fit<8>(p.in) && vectors_fit<8>(p.conv) && vectors_fit<8>(p.y))
    return launch<Fast>("causal_conv_forward", p, Fast::blocks(p.in), stream);
  launch<Any>("causal_conv_forward", p, Any::blocks(p.in), stream);
}
template <class Element>
void backward(const CausalConvBackward<Element>& p, Stream stream) {
  using Fast = CausalConvBackwardBlock<Element, 4>;
  using Any = CausalConvBackwardBlock<Element, 1>;
  if (vectors_fit<4>(p.in) && vectors_fit<4>(p.weight) && vectors_fit<4>(p.dy) && vectors_fit<4>(p.dx))
    return launch<Fast>("causal_conv_backward", p, Fast::blocks(p.in), stream);
  launch<Any>("causal_conv_backward", p, Any::blocks(p.in), stream);
}

template <class Element>
void add(KernelTable& table) {
  table.add<CausalConvForward<Element>>(forward<Element>);
  table.add<CausalConvBackward<Element>>(backward<Element>);
  const std::string type = name_of<Element>();
  table.add_plan(plan_of<CausalConvForwardBlock<Element, 8>>("causal_conv", "forward " + type));
  table.add_plan(plan_of<CausalConvBackwardBlock<Element, 4>>("causal_conv", "backward " + type));
  table.add_plan(plan_of<CausalConvForwardBlock<Element, 1>>("causal_conv", "forward " + type + " any width"));
  table.add_plan(plan_of<CausalConvBackwardBlock<Element, 1>>("causal_conv", "backward " + type + " any width"));
}

}  // namespace

void add_causal_conv(KernelTable& table) {
  add<std::uint16_t>(table);
  add<float>(table);
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
