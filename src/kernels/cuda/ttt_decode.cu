// Decoding with TTT-Linear and TTT-MLP.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ttt_decode.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

template <class Element>
void decode(const TttDecode<Element>& p, Stream stream) {
  TTT_CHECK(p.in.head_dim % 8 == 0 && p.in.head_dim >= 8 && p.in.head_dim <= kMostHeadDim, p.shape());
  TTT_CHECK(p.hidden % 8 == 0 && p.hidden >= 0 && p.hidden <= kMostHidden, p.shape());
  TTT_CHECK(p.mini_batch <= kMostMiniBatch && p.num_open >= 0 && p.num_open < p.mini_batch, p.shape());
  if (p.hidden == 0) return launch<TttLinearDecodeBlock<Element>>("ttt_linear_decode", p, p.in.blocks(), stream);
  launch<TttMlpDecodeBlock<Element>>("ttt_mlp_decode", p, p.in.blocks(), stream);
}

template <class Element>
void add(KernelTable& table) {
  table.add<TttDecode<Element>>(decode<Element>);
  const std::string kernel = cat("decode ", name_of<Element>());
  table.add_plan(plan_of<TttLinearDecodeBlock<Element>>("ttt_linear", kernel));
  table.add_plan(plan_of<TttMlpDecodeBlock<Element>>("ttt_mlp", kernel));
}

}  // namespace

void add_ttt_decode(KernelTable& table) {
  add<std::uint16_t>(table);
  add<float>(table);
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
