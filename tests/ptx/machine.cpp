#include "ptx/machine.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace ttt::ptx {
namespace {

std::uint32_t now = 0;  // the last time, over all launches

constexpr int kTurn = 40;  // instructions, at most, of a warp's turn where they are shuffled

std::string lanes_of(Mask mask) {
  std::string text;
  for (int i = 0; i < kLanes; ++i)
    if (mask >> i & 1) text += cat(text.empty() ? "" : " ", i);
  return text;
}

}  // namespace

Machine::Machine(const Kernel& kernel, const Launch& launch, const void* params, std::vector<char>& executed)
    : kernel_(kernel), launch_(launch), params_(static_cast<const unsigned char*>(params)), executed_(executed) {
  if (launch.threads % kLanes != 0 || launch.threads <= 0 || launch.threads > kernel.max_threads)
    throw Problem(
        cat("a block of ", launch.threads, " threads of ", kernel.name, ", which is made for ", kernel.max_threads));
  executed_.resize(kernel.code.size());
  warps_.resize(launch.threads / kLanes);
  for (Warp& warp : warps_) {
    warp.index = static_cast<int>(&warp - warps_.data());
    warp.registers.resize(static_cast<std::size_t>(kernel.slots) * kLanes);
    for (const Constant& c : kernel.constants) {
      if (c.wide) {
        std::fill_n(row_of<std::uint64_t>(warp, c.slot), kLanes, c.value);
      } else {
        std::fill_n(row(warp, c.slot), kLanes, static_cast<std::uint32_t>(c.value));
      }
    }
  }
  shared_.resize(launch.shared_bytes);
}

std::uint32_t Machine::next_time() {
  return ++now;
}

Counts Machine::run() {
  launch_time_ = ++now;
  for (block_ = 0; block_ < launch_.blocks; ++block_) run_block();
  return counts_;
}

void Machine::start(Warp& warp) {
  warp.defined.assign(kernel_.slots, 0);
  for (const Constant& c : kernel_.constants) warp.defined[c.slot] = kAllLanes;
  for (const std::uint32_t slot : {kThreadSlot, kBlockSlot, kBlocksSlot}) warp.defined[slot] = kAllLanes;
  for (int i = 0; i < kLanes; ++i) {
    row(warp, kThreadSlot)[i] = static_cast<std::uint32_t>(warp.index * kLanes + i);
    row(warp, kBlockSlot)[i] = static_cast<std::uint32_t>(block_);
    row(warp, kBlocksSlot)[i] = static_cast<std::uint32_t>(launch_.blocks);
    warp.lanes[i].groups = 0;
    warp.lanes[i].copies.clear();
  }
  warp.live = warp.active = kAllLanes;
  warp.waiting = 0;
  warp.pc = 0;
  warp.step = now;
  warp.state = State::kReady;
}

void Machine::run_block() {
  block_time_ = barrier_time_ = ++now;
  accesses_.assign((launch_.shared_bytes + 3) / 4, {});
  words_.assign(accesses_.size(), Word::kUnset);
  for (Warp& warp : warps_) start(warp);
  std::vector<int> order(warps_.size());
  std::iota(order.begin(), order.end(), 0);
  if (launch_.order == WarpOrder::kBackward) std::reverse(order.begin(), order.end());
  const bool shuffled = launch_.order == WarpOrder::kShuffled;
  while (true) {
    bool ran = false;
    if (shuffled) std::shuffle(order.begin(), order.end(), random_);
    for (const int i : order) {
      if (warps_[i].state != State::kReady) continue;
      run_warp(warps_[i], shuffled ? 1 + static_cast<int>(random_() % kTurn) : std::numeric_limits<int>::max());
      ran = true;
    }
    if (ran) continue;
    if (std::all_of(warps_.begin(), warps_.end(), [](const Warp& w) { return w.state == State::kDone; })) return;
    release_barrier();
  }
}

void Machine::release_barrier() {
  for (const Warp& warp : warps_)
    if (warp.state == State::kDone)
      throw Problem(cat(kernel_.name, ", block ", block_, ": warp ", warp.index,
                        " has ended while others wait at a barrier of the block"));
  barrier_time_ = ++now;
  ++counts_.block_barriers;
  for (Warp& warp : warps_) warp.state = State::kReady, warp.step = now;
}

void Machine::problem(const Warp& warp, const Instruction& in, int lane, const std::string& what) const {
  throw Problem(cat(kernel_.name, ", block ", block_, ", thread ", warp.index * kLanes + lane, " at instruction ",
                    &in - kernel_.code.data(), " `", kernel_.text_of(in), "`: ", what));
}

void Machine::undefined(const Warp& warp, const Instruction& in, Mask lanes) const {
  problem(warp, in, std::countr_zero(lanes), "reads a register that nobody has set");
}

void Machine::choose_lanes(Warp& warp) {
  const Mask ready = warp.live & ~warp.waiting;
  if (ready == 0) {
    std::string what = "lanes wait for each other in vain:";
    for (Mask left = warp.waiting; left != 0;) {
      const std::uint32_t pc = warp.lanes[std::countr_zero(left)].pc;
      Mask here = 0;
      for (int i = 0; i < kLanes; ++i)
        if ((left >> i & 1) && warp.lanes[i].pc == pc) here |= Mask{1} << i;
      left &= ~here;
      what += cat("\n  lanes ", lanes_of(here), " at ", pc, " `", kernel_.text_of(kernel_.code[pc]), "`");
    }
    if (warp.live != kAllLanes) what += cat("\n  lanes ", lanes_of(~warp.live), " have ended");
    throw Problem(cat(kernel_.name, ", block ", block_, ", warp ", warp.index, ": ", what));
  }
  std::uint32_t lowest = ~0u;
  for (int i = 0; i < kLanes; ++i)
    if (ready >> i & 1) lowest = std::min(lowest, warp.lanes[i].pc);
  warp.active = 0, warp.pc = lowest;
  for (int i = 0; i < kLanes; ++i)
    if ((ready >> i & 1) && warp.lanes[i].pc == lowest) warp.active |= Mask{1} << i;
}

bool Machine::all_lanes_meet(Warp& warp, const Instruction& in) {
  if (warp.active == kAllLanes) return true;
  for (int i = 0; i < kLanes; ++i)
    if ((warp.waiting >> i & 1) && warp.lanes[i].pc == warp.pc) warp.active |= Mask{1} << i;
  if (warp.active == kAllLanes) {
    warp.waiting = 0;
    return true;
  }
  if (in.guarded) problem(warp, in, std::countr_zero(warp.active), "a collective instruction under a predicate");
  warp.waiting |= warp.active;
  for (int i = 0; i < kLanes; ++i)
    if (warp.active >> i & 1) warp.lanes[i].pc = warp.pc;
  choose_lanes(warp);
  return false;
}

void Machine::run_warp(Warp& warp, int instructions) {
  const Instruction* const code = kernel_.code.data();
  while (instructions-- > 0) {
    const Instruction& in = code[warp.pc];
    if (in.collective && !all_lanes_meet(warp, in)) continue;
    ++counts_.instructions;
    executed_[warp.pc] = 1;
    Mask active = warp.active, unset = 0;
    if (in.guarded) {
      if ((active & ~warp.defined[in.guard]) != 0) undefined(warp, in, active & ~warp.defined[in.guard]);
      active &= in.guard_negated ? ~*row(warp, in.guard) : *row(warp, in.guard);
    }
    for (int i = 0; i < in.sources; ++i) unset |= ~warp.defined[in.slots[in.results + i]];
    if ((unset & active) != 0) undefined(warp, in, unset & active);

    // Where the lanes go on.
    if (in.op == Op::kBranch || in.op == Op::kReturn) {
      const Mask leaves = active, stays = warp.active & ~active;
      if (in.op == Op::kReturn) {
        warp.live &= ~leaves;
        if (warp.live == 0) {
          warp.state = State::kDone;
          return;
        }
      }
      if (leaves == warp.active && in.op == Op::kBranch && warp.active == warp.live) {
        warp.pc = in.target;
        continue;
      }
      if (leaves == 0 && warp.active == warp.live) {
        ++warp.pc;
        continue;
      }
      for (int i = 0; i < kLanes; ++i) {
        if (leaves >> i & 1) warp.lanes[i].pc = in.target;
        if (stays >> i & 1) warp.lanes[i].pc = warp.pc + 1;
      }
      choose_lanes(warp);
      continue;
    }
    if (in.collective) {
      if (in.guarded) problem(warp, in, 0, "a collective instruction under a predicate");
      collective(warp, in);
    } else if (in.op >= Op::kLoadParam) {
      access_memory(warp, in, active);
    } else if (active != 0) {
      compute(warp, in, active);
    }
    for (int i = 0; i < in.results; ++i) {
      Mask& defined = warp.defined[in.slots[i]];
      defined = in.used_bytes == ~0u || in.uses(i) ? defined | active : defined & ~active;
    }
    ++warp.pc;
    if (in.op == Op::kBarSync) {
      warp.state = State::kAtBarrier;
      return;
    }
    if (warp.active != warp.live) {  // others may be there, or behind
      for (int i = 0; i < kLanes; ++i)
        if (warp.active >> i & 1) warp.lanes[i].pc = warp.pc;
      choose_lanes(warp);
    }
  }
}

}  // namespace ttt::ptx
