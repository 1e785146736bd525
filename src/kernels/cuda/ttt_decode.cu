// Decoding with TTT-Linear and TTT-MLP.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ttt_decode.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

template <class Element, int kHeadDim>
void launch_decode(const TttDecode<Element>& p, Stream stream) {
  if (p.hidden == 0)
    return launch<TttLinearDecodeBlock<Element, kHeadDim>>("ttt_linear_decode", p, p.in.blocks(), stream);
  launch<TttMlpDecodeBlock<Element, kHeadDim>>("ttt_mlp_decode", p, p.in.blocks(), stream);
}
template <class Element>
void decode(const TttDecode<Element>& p, Stream stream) {
  const int head_dim = p.in.head_dim;
  TTT_CHECK(head_dim % 8 == 0 && head_dim >= 8 && head_dim <= kMostHeadDim, p.shape());
  TTT_CHECK(p.hidden % 8 == 0 && p.hidden >= 0 && p.hidden <= kMostHidden, p.shape());
  TTT_CHECK(p.mini_batch <= kMostMiniBatch && p.num_open >= 0 && p.num_open < p.mini_batch, p.shape());
  const bool usual = p.hidden == 0 || p.hidden == 4 * head_dim;
  if (usual && head_dim == 64) return launch_decode<Element, 64>(p, stream);
  if (usual && head_dim == 96) return launch_decode<Element, 96>(p, stream);
  launch_decode<Element, 0>(p, stream);
}

template <class Element, int kHeadDim>
void add_plans(KernelTable& table, const std::string& size) {
  const std::string kernel = cat("decode ", name_of<Element>(), size);
  table.add_plan(plan_of<TttLinearDecodeBlock<Element, kHeadDim>>("ttt_linear", kernel));
  table.add_plan(plan_of<TttMlpDecodeBlock<Element, kHeadDim>>("ttt_mlp", kernel));
}
template <class Element>
void add(KernelTable& table) {
  table.add<TttDecode<Element>>(decode<Element>);
  add_plans<Element, 64>(table, " 64");
  add_plans<Element, 96>(table, " 96");
  add_plans<Element, 0>(table, "");
}

}  // namespace

void add_ttt_decode(KernelTable& table) {
  add<std::uint16_t>(table);
  add<float>(table);
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
