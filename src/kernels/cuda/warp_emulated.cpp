#include "kernels/cuda/warp_emulated.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define TTT_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TTT_ADDRESS_SANITIZER
#endif
#endif
#ifdef TTT_ADDRESS_SANITIZER
#include <sanitizer/common_interface_defs.h>
#endif

namespace ttt::kernels::cuda {
namespace {

constexpr int kWarp = 32;
constexpr std::size_t kStackBytes = 256 << 10;

// A stack and where to go on in it. What ran switches to what shall run: by swapcontext under AddressSanitizer, else,
// once a stack has been entered, by longjmp, which asks nothing of the system and so is five times as fast.
struct Context {
  ucontext_t place = {};
  jmp_buf jump = {};
  bool entered = true;
  const void* stack = nullptr;
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's

  void begin(char* memory, void (*function)()) {
    getcontext(&place);
    place.uc_stack.ss_sp = memory;
    place.uc_stack.ss_size = kStackBytes;
    place.uc_link = nullptr;
    stack = memory, stack_bytes = kStackBytes, fake_stack = nullptr;
    makecontext(&place, function, 0);
    entered = false;
  }
  void switch_to(Context& next, [[maybe_unused]] bool for_ever = false) {
#ifdef TTT_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(for_ever ? nullptr : &fake_stack, next.stack, next.stack_bytes);
    swapcontext(&place, &next.place);
    arrived(this);
#else
    if (_setjmp(jump) != 0) return;
    if (next.entered) _longjmp(next.jump, 1);
    next.entered = true;
    setcontext(&next.place);
#endif
  }
  static void arrived([[maybe_unused]] Context* self) {
#ifdef TTT_ADDRESS_SANITIZER
    const void* from = nullptr;
    std::size_t bytes = 0;
    __sanitizer_finish_switch_fiber(self != nullptr ? self->fake_stack : nullptr, &from, &bytes);
    if (scheduler_stack != nullptr && scheduler_stack->stack == nullptr)
      scheduler_stack->stack = from, scheduler_stack->stack_bytes = bytes;
#endif
  }
  static Context* scheduler_stack;  // learns its own bounds from the first switch away from it
};
Context* Context::scheduler_stack = nullptr;

// Does for a whole warp what its lanes came together for.
using WarpOp = void (*)(void* const* arguments);

struct Copy {
  void* to;
  const void* from;
  bool valid;
};

enum class State { kReady, kAtWarp, kAtBlock, kDone };

struct Thread {
  Context context;
  std::unique_ptr<char[]> stack;
  State state = State::kReady;
  void* argument = nullptr;
  std::deque<std::vector<Copy>> copies;  // groups; the last one is open
};

struct Warp {
  int waiting = 0;      // lanes that came together so far
  WarpOp op = nullptr;  // for which
  int elsewhere = 0;    // lanes at the block's barrier, or at their end
};

struct Block {
  Context scheduler;
  std::vector<Warp> warps;
  std::vector<Thread> threads;
  std::vector<char> memory;
  char* shared = nullptr;
  int index = 0;
  int blocks = 0;
  int current = 0;
  const std::function<void(char*)>* kernel = nullptr;
  std::string error;
  EmulatedCounts counts;
};
Block* block = nullptr;

// Ends the launch with an error of the thread that runs.
[[noreturn]] void fail(const std::string& what) {
  block->error = "block " + std::to_string(block->index) + ", thread " + std::to_string(block->current) + ": " + what;
  block->threads[block->current].context.switch_to(block->scheduler, /*for_ever=*/true);
  std::abort();
}

Warp& own_warp() {
  return block->warps[static_cast<std::size_t>(block->current / kWarp)];
}

void pause(State state) {
  Thread& self = block->threads[block->current];
  self.state = state;
  if (state == State::kAtBlock) ++own_warp().elsewhere;
  self.context.switch_to(block->scheduler);
}

void thread_main() {
  Context::arrived(nullptr);
  (*block->kernel)(block->shared);
  Thread& self = block->threads[block->current];
  self.state = State::kDone;
  ++own_warp().elsewhere;
  self.context.switch_to(block->scheduler, /*for_ever=*/true);
}

// Ends the launch, as a lane of the warp that begins with thread `first` does something else than this one.
void name_the_lane(int first, WarpOp op) {
  for (int i = first; i < first + kWarp; ++i) {
    const State state = block->threads[i].state;
    if (state == State::kAtWarp && own_warp().op != op)
      fail("does something else than lane " + std::to_string(i % kWarp) + " of its warp");
    if (state == State::kAtBlock || state == State::kDone)
      fail("lane " + std::to_string(i % kWarp) + " of its warp has gone on without it");
  }
}

// All lanes of the warp come here with the same op; the last one does it.
template <class Argument>
void meet(WarpOp op, Argument& argument) {
  const int first = block->current / kWarp * kWarp;
  Thread& self = block->threads[block->current];
  self.argument = &argument;
  Warp& warp = own_warp();
  if (warp.elsewhere > 0 || (warp.waiting > 0 && warp.op != op)) name_the_lane(first, op);
  warp.op = op;
  if (++warp.waiting < kWarp) return pause(State::kAtWarp);
  warp.waiting = 0;
  void* arguments[kWarp];
  for (int i = 0; i < kWarp; ++i) arguments[i] = block->threads[first + i].argument;
  op(arguments);
  for (int i = first; i < first + kWarp; ++i) block->threads[i].state = State::kReady;
}

// Where every thread of the block waits, or those that do not have ended.
void release_barrier() {
  int waiting = 0, done = 0;
  for (const Thread& t : block->threads) waiting += t.state == State::kAtBlock, done += t.state == State::kDone;
  if (waiting == 0) {
    block->error = "block " + std::to_string(block->index) + ": lanes wait for others of their warp, which have ended";
    return;
  }
  if (done != 0 || waiting != static_cast<int>(block->threads.size())) {
    block->error = "block " + std::to_string(block->index) + ": " + std::to_string(waiting) + " threads of " +
                   std::to_string(block->threads.size()) + " wait at a barrier that the others do not reach";
    return;
  }
  ++block->counts.block_barriers;
  for (Thread& t : block->threads) t.state = State::kReady;
  for (Warp& warp : block->warps) warp.elsewhere = 0;
}

// A warp runs until all its lanes wait for other warps, then the next one: what a barrier is missing for goes wrong.
void run_block(const std::vector<int>& order) {
  const std::size_t size = block->threads.size();
  while (block->error.empty()) {
    for (std::size_t first = 0; first < size; first += kWarp) {
      for (bool ran = true; ran;) {
        ran = false;
        for (std::size_t i = first; i < first + kWarp; ++i) {
          Thread& thread = block->threads[order[i]];
          if (thread.state != State::kReady) continue;
          ran = true;
          block->current = order[i];
          block->scheduler.switch_to(thread.context);
          if (!block->error.empty()) return;
        }
      }
    }
    if (std::all_of(block->threads.begin(), block->threads.end(),
                    [](const Thread& t) { return t.state == State::kDone; }))
      return;
    release_barrier();
  }
}

bool in_shared(const void* p, std::size_t bytes) {
  const char* at = static_cast<const char*>(p);
  return at >= block->shared && at + bytes <= block->memory.data() + block->memory.size();
}

void do_nothing(void* const*) {}

struct Shuffle {
  float value;
  int lane;  // to read
  float result;
};
void do_shuffle(void* const* arguments) {
  for (int i = 0; i < kWarp; ++i) {
    Shuffle& self = *static_cast<Shuffle*>(arguments[i]);
    self.result = static_cast<const Shuffle*>(arguments[self.lane % kWarp])->value;
  }
}

// (row, col) of an 8 x 8 matrix of which lane i holds words[i].
std::uint32_t half(const std::uint32_t* words, int row, int col) {
  return words[4 * row + col / 2] >> 16 * (col % 2) & 0xffff;
}
void transpose(std::uint32_t* words) {
  std::uint32_t out[kWarp];
  for (int i = 0; i < kWarp; ++i) out[i] = half(words, 2 * (i % 4), i / 4) | half(words, 2 * (i % 4) + 1, i / 4) << 16;
  std::copy_n(out, kWarp, words);
}
void do_transpose(void* const* arguments) {
  std::uint32_t words[kWarp];
  for (int i = 0; i < kWarp; ++i) words[i] = *static_cast<std::uint32_t*>(arguments[i]);
  transpose(words);
  for (int i = 0; i < kWarp; ++i) *static_cast<std::uint32_t*>(arguments[i]) = words[i];
}

struct Product {
  float* c;
  const std::uint32_t *a, *b;
};
float number(std::uint32_t word, int which) {
  return which == 0 ? low_bf16(word) : high_bf16(word);
}
void do_product(void* const* arguments) {
  float a[16][16], b[16][8];
  for (int i = 0; i < kWarp; ++i) {
    const Product& p = *static_cast<const Product*>(arguments[i]);
    const int g = i / 4, t = i % 4;
    for (int w = 0; w < 4; ++w)
      for (int x = 0; x < 2; ++x) a[g + 8 * (w % 2)][2 * t + 8 * (w / 2) + x] = number(p.a[w], x);
    for (int w = 0; w < 2; ++w)
      for (int x = 0; x < 2; ++x) b[2 * t + 8 * w + x][g] = number(p.b[w], x);
  }
  for (int i = 0; i < kWarp; ++i) {
    const Product& p = *static_cast<const Product*>(arguments[i]);
    for (int x = 0; x < 4; ++x) {
      const int row = i / 4 + 8 * (x / 2), col = 2 * (i % 4) + x % 2;
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][col];
      p.c[x] += sum;
    }
  }
  ++block->counts.products;
}

struct MatrixLoad {
  std::uint32_t* words;
  const void* row;
};
template <bool kTransposed>
void do_load(void* const* arguments) {
  ++block->counts.matrix_loads;
  for (int m = 0; m < 4; ++m) {
    std::uint32_t words[kWarp];
    int rows_at_bank[8] = {};  // banks in groups of four, 16 bytes
    for (int r = 0; r < 8; ++r) {
      const void* row = static_cast<const MatrixLoad*>(arguments[8 * m + r])->row;
      if (!in_shared(row, 16)) fail("a matrix's row is not in shared memory");
      const auto offset = static_cast<const char*>(row) - block->shared;
      if (offset % 16 != 0) fail("a matrix's row is not aligned to 16 bytes");
      ++rows_at_bank[offset / 16 % 8];
      std::memcpy(words + 4 * r, row, 16);
    }
    block->counts.bank_conflicts += *std::max_element(rows_at_bank, rows_at_bank + 8) - 1;
    if (kTransposed) transpose(words);
    for (int i = 0; i < kWarp; ++i) static_cast<MatrixLoad*>(arguments[i])->words[m] = words[i];
  }
}

// Warps in a random order, and the lanes of each.
std::vector<int> shuffled(int threads, std::mt19937& random) {
  std::vector<int> warps(threads / kWarp), order;
  std::iota(warps.begin(), warps.end(), 0);
  std::shuffle(warps.begin(), warps.end(), random);
  for (const int warp : warps) {
    std::vector<int> lanes(kWarp);
    std::iota(lanes.begin(), lanes.end(), warp * kWarp);
    std::shuffle(lanes.begin(), lanes.end(), random);
    order.insert(order.end(), lanes.begin(), lanes.end());
  }
  return order;
}

}  // namespace

EmulatedCounts run_emulated(const EmulatedLaunch& launch, const std::function<void(char*)>& kernel) {
  if (launch.threads % kWarp != 0 || launch.threads <= 0 || block != nullptr)
    throw std::runtime_error("a block has whole warps, and one launch runs at a time");
  Block b;
  b.kernel = &kernel;
  b.blocks = launch.blocks;
  b.threads = std::vector<Thread>(launch.threads);
  b.memory.resize(launch.shared_bytes + 128);
  b.shared = b.memory.data() + (128 - reinterpret_cast<std::uintptr_t>(b.memory.data()) % 128) % 128;
  b.memory.resize(b.shared - b.memory.data() + launch.shared_bytes);  // never grows: the data stay where they are
  for (Thread& t : b.threads) t.stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  std::vector<int> order(launch.threads);
  std::iota(order.begin(), order.end(), 0);
  if (launch.order == LaneOrder::kBackward) std::reverse(order.begin(), order.end());
  std::mt19937 random(1);
  block = &b;
  Context::scheduler_stack = &b.scheduler;
  for (b.index = 0; b.index < launch.blocks && b.error.empty(); ++b.index) {
    if (launch.order == LaneOrder::kShuffled) order = shuffled(launch.threads, random);
    b.warps.assign(static_cast<std::size_t>(launch.threads / kWarp), {});
    std::fill(b.memory.begin(), b.memory.end(), '\xff');  // NaN in bf16 and fp32
    for (Thread& t : b.threads) {
      t.state = State::kReady;
      t.copies.assign(1, {});
      t.context.begin(t.stack.get(), thread_main);
    }
    run_block(order);
  }
  block = nullptr;
  Context::scheduler_stack = nullptr;
  if (!b.error.empty()) throw std::runtime_error(b.error);
  return b.counts;
}

int thread_in_block() {
  return block->current;
}
int block_in_grid() {
  return block->index;
}
int blocks_in_grid() {
  return block->blocks;
}
void sync_block() {
  pause(State::kAtBlock);
}
void sync_warp() {
  int nothing = 0;
  meet(do_nothing, nothing);
}

float shuffle_xor(float x, int mask) {
  Shuffle argument{x, thread_in_block() % kWarp ^ mask, 0};
  meet(do_shuffle, argument);
  return argument.result;
}
float shuffle(float x, int lane) {
  Shuffle argument{x, lane, 0};
  meet(do_shuffle, argument);
  return argument.result;
}

void check_alignment(const void* p, int bytes) {
  if (reinterpret_cast<std::uintptr_t>(p) % static_cast<std::uintptr_t>(bytes) != 0)
    fail("an address is not aligned to " + std::to_string(bytes) + " bytes");
}

std::uint32_t transpose_8x8(std::uint32_t row) {
  meet(do_transpose, row);
  return row;
}

void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  Product argument{c, a, b};
  meet(do_product, argument);
}

void load_matrices(std::uint32_t (&words)[4], const void* row) {
  MatrixLoad argument{words, row};
  meet(do_load<false>, argument);
}
void load_matrices_transposed(std::uint32_t (&words)[4], const void* row) {
  MatrixLoad argument{words, row};
  meet(do_load<true>, argument);
}

void copy_16_bytes(void* to_shared, const void* from_global, bool valid) {
  const auto aligned = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; };
  if (!in_shared(to_shared, 16)) fail("copies to what is not shared memory");
  if (!aligned(to_shared) || (valid && !aligned(from_global))) fail("copies 16 bytes that are not aligned to 16");
  std::memset(to_shared, 0xff, 16);
  block->threads[block->current].copies.back().push_back({to_shared, from_global, valid});
}
void close_copies() {
  block->threads[block->current].copies.emplace_back();
}
void wait_for_emulated_copies(int open) {
  auto& groups = block->threads[block->current].copies;
  while (static_cast<int>(groups.size()) > open + 1) {
    for (const Copy& c : groups.front()) {
      if (c.valid) {
        std::memcpy(c.to, c.from, 16);
      } else {
        std::memset(c.to, 0, 16);
      }
    }
    groups.pop_front();
  }
}

}  // namespace ttt::kernels::cuda
