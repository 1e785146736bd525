// The optimizer's kernels.
#include "kernels/cuda/adamw.h"

#include "kernels/cuda/launch.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

template <class Element>
void squares(const GradientSquares<Element>& p, Stream stream) {
  launch<GradientSquaresBlock<Element>>("gradient_squares", p, p.chunk_count, stream);
}
void norm(const GradientNorm& p, Stream stream) {
  launch<GradientNormBlock>("gradient_norm", p, 1, stream);
}
void decide(const DecideStep& p, Stream stream) {
  launch<DecideStepBlock>("decide_step", p, 1, stream);
}
template <class Element>
void update(const AdamWUpdate<Element>& p, Stream stream) {
  launch<AdamWUpdateBlock<Element>>("adamw_update", p, p.chunk_count, stream);
}

template <class Element>
void add(KernelTable& table) {
  table.add<GradientSquares<Element>>(squares<Element>);
  table.add<AdamWUpdate<Element>>(update<Element>);
  const std::string type = name_of<Element>();
  table.add_plan(plan_of<GradientSquaresBlock<Element>>("adamw", "squares " + type));
  table.add_plan(plan_of<AdamWUpdateBlock<Element>>("adamw", "update " + type));
}

}  // namespace

void add_adamw(KernelTable& table) {
  add<std::uint16_t>(table);
  add<float>(table);
  table.add<GradientNorm>(norm);
  table.add_plan(plan_of<GradientNormBlock>("adamw", "norm"));
  table.add<DecideStep>(decide);
  table.add_plan(plan_of<DecideStepBlock>("adamw", "decision"));
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
