// The kernels of the cross-entropy.
#include "kernels/cuda/cross_entropy.h"

#include "kernels/cuda/launch.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

template <class Block, class Arguments>
void start(const char* name, const Arguments& p, Stream stream) {
  TTT_CHECK(p.width <= 1 << 30, name, ", ", p.shape());
  launch<Block>(name, p, p.rows, stream);
}
template <class Element>
void forward(const CrossEntropyForward<Element>& p, Stream stream) {
  start<CrossEntropyForwardBlock<Element>>("cross_entropy_forward", p, stream);
}
template <class Element>
void gradient(const CrossEntropyGradient<Element>& p, Stream stream) {
  start<CrossEntropyGradientBlock<Element>>("cross_entropy_gradient", p, stream);
}

template <class Element>
void add(KernelTable& table) {
  table.add<CrossEntropyForward<Element>>(forward<Element>);
  table.add<CrossEntropyGradient<Element>>(gradient<Element>);
  const std::string type = name_of<Element>();
  table.add_plan(plan_of<CrossEntropyForwardBlock<Element>>("cross_entropy", "forward " + type));
  table.add_plan(plan_of<CrossEntropyGradientBlock<Element>>("cross_entropy", "gradient " + type));
}

}  // namespace

void add_cross_entropy(KernelTable& table) {
  add<std::uint16_t>(table);
  add<float>(table);
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
