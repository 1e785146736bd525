// RoPE's kernels: in vectors of 8 values, and in pairs.
#include "kernels/cuda/rope.h"

#include "kernels/cuda/launch.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

template <class Element, class To, int kDirection>
void start(const typename RopeBlock<Element, To, 8, kDirection>::Arguments& p, Stream stream) {
  using Fast = RopeBlock<Element, To, 8, kDirection>;
  using Any = RopeBlock<Element, To, 2, kDirection>;
  const auto fits = [&]<int n>(std::integral_constant<int, n>) {
    if constexpr (kDirection == 1) {
      return vectors_fit<n>(p.table, p.head_dim) && vectors_fit<n>(p.x) && vectors_fit<n>(p.y);
    } else {
      return vectors_fit<n>(p.table, p.head_dim) && vectors_fit<n>(p.dy) && vectors_fit<n>(p.dx);
    }
  };
  if (fits(std::integral_constant<int, 8>())) return launch<Fast>("rope", p, Fast::blocks(p), stream);
  TTT_CHECK(fits(std::integral_constant<int, 2>()), "rope of rows that are not pairs: ", p.shape());
  launch<Any>("rope", p, Any::blocks(p), stream);
}

template <class Element, class To>
void add(KernelTable& table) {
  table.add<RopeForward<Element, To>>(start<Element, To, 1>);
  table.add<RopeBackward<Element, To>>(start<Element, To, -1>);
  const std::string types = cat(name_of<Element>(), " to ", name_of<To>());
  table.add_plan(plan_of<RopeBlock<Element, To, 8, 1>>("rope", "forward " + types));
  table.add_plan(plan_of<RopeBlock<Element, To, 8, -1>>("rope", "backward " + types));
  table.add_plan(plan_of<RopeBlock<Element, To, 2, 1>>("rope", "forward " + types + " in pairs"));
  table.add_plan(plan_of<RopeBlock<Element, To, 2, -1>>("rope", "backward " + types + " in pairs"));
}

}  // namespace

void add_rope(KernelTable& table) {
  add<std::uint16_t, std::uint16_t>(table);
  add<std::uint16_t, float>(table);
  add<float, float>(table);
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
