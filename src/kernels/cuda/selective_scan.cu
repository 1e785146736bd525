// The selective scan's kernels: one a pass where there is one segment, else three.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/selective_scan_backward.h"
#include "kernels/cuda/selective_scan_forward.h"

namespace ttt::kernels::cuda::TTT_TARGET {
namespace {

// Whether E and the addresses allow vectors of 16 bytes; what is written value by value need not be among them.
template <class... Pointers>
bool fits(const ScanInputs& in, Pointers... pointers) {
  TTT_CHECK(vectors_fit<4>(in.B, in.C), "B and C of ", in.shape(), " are not aligned to 16 bytes");
  return in.channels % 4 == 0 && vectors_fit<4>(in.x, in.dt, in.A, pointers...);
}

template <bool kVectors>
void forward_in(const ScanForward& p, Stream stream) {
  if (p.in.segments() > 1) {
    using Carry = ScanCarryBlock<1>;
    launch<ScanForwardBlock<false, kVectors>>("selective_scan_ends", p, p.in.blocks(), stream);
    launch<Carry>("selective_scan_carry", typename Carry::Arguments{p.in, p.work, p.h}, Carry::blocks(p.in), stream);
  }
  launch<ScanForwardBlock<true, kVectors>>("selective_scan_forward", p, p.in.blocks(), stream);
}
void forward(const ScanForward& p, Stream stream) {
  if (fits(p.in, p.h, p.h_end, p.starts, p.work.carries, p.work.dt_sums)) return forward_in<true>(p, stream);
  forward_in<false>(p, stream);
}

template <bool kVectors>
void backward_in(const ScanBackward& p, Stream stream) {
  if (p.in.segments() > 1) {
    using Carry = ScanCarryBlock<-1>;
    launch<ScanBackwardCarryBlock<kVectors>>("selective_scan_backward_ends", p, p.in.blocks(), stream);
    launch<Carry>("selective_scan_backward_carry", typename Carry::Arguments{p.in, p.work, nullptr},
                  Carry::blocks(p.in), stream);
  }
  launch<ScanBackwardBlock<kVectors>>("selective_scan_backward", p, p.in.blocks(), stream);
}
void backward(const ScanBackward& p, Stream stream) {
  if (fits(p.in, p.starts, p.dy, p.dA, p.work.carries, p.work.dt_sums)) return backward_in<true>(p, stream);
  backward_in<false>(p, stream);
}

template <bool kVectors>
void add_plans(KernelTable& table, const std::string& widths) {
  const char* op = "selective_scan";
  table.add_plan(plan_of<ScanForwardBlock<false, kVectors>>(op, "forward ends fp32" + widths));
  table.add_plan(plan_of<ScanForwardBlock<true, kVectors>>(op, "forward fp32" + widths));
  table.add_plan(plan_of<ScanBackwardCarryBlock<kVectors>>(op, "backward ends fp32" + widths));
  table.add_plan(plan_of<ScanBackwardBlock<kVectors>>(op, "backward fp32" + widths));
}

}  // namespace

void add_selective_scan(KernelTable& table) {
  table.add<ScanForward>(forward);
  table.add<ScanBackward>(backward);
  add_plans<true>(table, "");
  add_plans<false>(table, " any width");
  table.add_plan(plan_of<ScanCarryBlock<1>>("selective_scan", "forward carry fp32"));
  table.add_plan(plan_of<ScanCarryBlock<-1>>("selective_scan", "backward carry fp32"));
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
