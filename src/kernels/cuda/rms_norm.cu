// RMSNorm's kernels.
#include "kernels/cuda/rms_norm.h"

#include "kernels/cuda/launch.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

// Of the blocks for rows of 1024, 2048 and 8192 values, the narrowest.
template <template <class, int, int> class Block, template <class> class Arguments, class Element>
void start(const char* name, const Arguments<Element>& p, std::int64_t blocks, Stream stream) {
  if (p.width <= 1024) return launch<Block<Element, 128, 2>>(name, p, blocks, stream);
  if (p.width <= 2048) return launch<Block<Element, 256, 2>>(name, p, blocks, stream);
  TTT_CHECK(p.width <= kWidestRow, name, ", ", p.shape());
  launch<Block<Element, 512, 4>>(name, p, blocks, stream);
}
template <template <class, int, int> class Block, class Element>
void add_plans(KernelTable& table, const char* pass) {
  const std::string name = cat(pass, " ", name_of<Element>(), " ");
  table.add_plan(plan_of<Block<Element, 128, 2>>("rms_norm", name + "1024"));
  table.add_plan(plan_of<Block<Element, 256, 2>>("rms_norm", name + "2048"));
  table.add_plan(plan_of<Block<Element, 512, 4>>("rms_norm", name + "8192"));
}

template <class Element>
void forward(const RmsNormForward<Element>& p, Stream stream) {
  start<RmsNormForwardBlock>("rms_norm_forward", p, p.rows, stream);
}
template <class Element>
void backward(const RmsNormBackward<Element>& p, Stream stream) {
  start<RmsNormBackwardBlock>("rms_norm_backward", p, row_blocks(p.rows), stream);
}

template <class Element>
void add(KernelTable& table) {
  table.add<RmsNormForward<Element>>(forward<Element>);
  table.add<RmsNormBackward<Element>>(backward<Element>);
  add_plans<RmsNormForwardBlock, Element>(table, "forward");
  add_plans<RmsNormBackwardBlock, Element>(table, "backward");
}

}  // namespace

void add_rms_norm(KernelTable& table) {
  add<std::uint16_t>(table);
  add<float>(table);
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
