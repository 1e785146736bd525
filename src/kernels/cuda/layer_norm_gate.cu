// The kernels of LayerNorm with a gate.
#include "kernels/cuda/layer_norm_gate.h"

#include "kernels/cuda/launch.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

// Of the blocks for tokens of 1024, 2048 and 8192 values, the narrowest.
template <template <class, class, int, int> class Block, template <class, class> class Arguments, class Element,
          class Source>
void start(const char* name, const Arguments<Element, Source>& p, std::int64_t blocks, Stream stream) {
  if (p.width() <= 1024) return launch<Block<Element, Source, 128, 2>>(name, p, blocks, stream);
  if (p.width() <= 2048) return launch<Block<Element, Source, 256, 2>>(name, p, blocks, stream);
  TTT_CHECK(p.width() <= kWidestRow, name, ", ", p.shape());
  launch<Block<Element, Source, 512, 4>>(name, p, blocks, stream);
}
template <template <class, class, int, int> class Block, class Element, class Source>
void add_plans(KernelTable& table, const char* pass) {
  const std::string name = cat(pass, " ", name_of<Element>(), " of ", name_of<Source>(), " ");
  table.add_plan(plan_of<Block<Element, Source, 128, 2>>("layer_norm_gate", name + "1024"));
  table.add_plan(plan_of<Block<Element, Source, 256, 2>>("layer_norm_gate", name + "2048"));
  table.add_plan(plan_of<Block<Element, Source, 512, 4>>("layer_norm_gate", name + "8192"));
}

template <class Element, class Source>
void forward(const LayerNormGateForward<Element, Source>& p, Stream stream) {
  start<LayerNormGateForwardBlock>("layer_norm_gate_forward", p, p.rows(), stream);
}
template <class Element, class Source>
void backward(const LayerNormGateBackward<Element, Source>& p, Stream stream) {
  start<LayerNormGateBackwardBlock>("layer_norm_gate_backward", p, row_blocks(p.rows()), stream);
}

template <class Element, class Source>
void add(KernelTable& table) {
  table.add<LayerNormGateForward<Element, Source>>(forward<Element, Source>);
  table.add<LayerNormGateBackward<Element, Source>>(backward<Element, Source>);
  add_plans<LayerNormGateForwardBlock, Element, Source>(table, "forward");
  add_plans<LayerNormGateBackwardBlock, Element, Source>(table, "backward");
}

}  // namespace

void add_layer_norm_gate(KernelTable& table) {
  add<std::uint16_t, std::uint16_t>(table);
  add<std::uint16_t, float>(table);
  add<float, float>(table);
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
