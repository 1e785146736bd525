// The kernels of two convolutions with RoPE and the split into heads: in vectors of 4 channels, whose
// weights and sums fill the registers, and in pairs.
#include "kernels/cuda/conv_rope.h"

#include "kernels/cuda/launch.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

template <int n, class Element, class To>
bool fits(const ConvRopeForward<Element, To>& p) {
  return vectors_fit<n>(p.in) && vectors_fit<n>(p.table, p.head_dim) && vectors_fit<n>(p.q_conv) &&
         vectors_fit<n>(p.k_conv) && vectors_fit<n>(p.q) && vectors_fit<n>(p.k);
}
template <int n, class Element, class To>
bool fits(const ConvRopeBackward<Element, To>& p) {
  return vectors_fit<n>(p.in) && vectors_fit<n>(p.table, p.head_dim) && vectors_fit<n>(p.q_weight, p.k_weight) &&
         vectors_fit<n>(p.dq) && vectors_fit<n>(p.dk) && vectors_fit<n>(p.dx);
}

template <class Element, class To>
void forward(const ConvRopeForward<Element, To>& p, Stream stream) {
  using Fast = ConvRopeForwardBlock<Element, To, 4>;
  using Any = ConvRopeForwardBlock<Element, To, 2>;
  if (fits<4>(p)) return launch<Fast>("conv_rope_forward", p, Fast::blocks(p.in), stream);
  TTT_CHECK(fits<2>(p), "rope of rows that are not pairs: ", p.shape());
  launch<Any>("conv_rope_forward", p, Any::blocks(p.in), stream);
}
template <class Element, class To>
void backward(const ConvRopeBackward<Element, To>& p, Stream stream) {
  using Fast = ConvRopeBackwardBlock<Element, To, 4>;
  using Any = ConvRopeBackwardBlock<Element, To, 2>;
  if (fits<4>(p)) return launch<Fast>("conv_rope_backward", p, Fast::blocks(p.in), stream);
  TTT_CHECK(fits<2>(p), "rope of rows that are not pairs: ", p.shape());
  launch<Any>("conv_rope_backward", p, Any::blocks(p.in), stream);
}

template <class Element, class To>
void add(KernelTable& table) {
  table.add<ConvRopeForward<Element, To>>(forward<Element, To>);
  table.add<ConvRopeBackward<Element, To>>(backward<Element, To>);
  const std::string types = cat(name_of<Element>(), " to ", name_of<To>());
  table.add_plan(plan_of<ConvRopeForwardBlock<Element, To, 4>>("conv_rope", "forward " + types));
  table.add_plan(plan_of<ConvRopeBackwardBlock<Element, To, 4>>("conv_rope", "backward " + types));
  table.add_plan(plan_of<ConvRopeForwardBlock<Element, To, 2>>("conv_rope", "forward " + types + " in pairs"));
  table.add_plan(plan_of<ConvRopeBackwardBlock<Element, To, 2>>("conv_rope", "backward " + types + " in pairs"));
}

}  // namespace

void add_conv_rope(KernelTable& table) {
  add<std::uint16_t, std::uint16_t>(table);
  add<std::uint16_t, float>(table);
  add<float, float>(table);
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
