// The words of warp.h on any processor: a block's threads are fibers that run one after the other and meet in what the
// hardware does for a whole warp or block. What real hardware would forgive at times, or answer with wrong numbers, is
// an error here: lanes of a warp that part ways, threads that a barrier waits for in vain, addresses that are not
// aligned or lie outside of shared memory, reading shared memory that an asynchronous copy has not yet filled (NaN).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>

#define TTT_DEVICE inline
#define TTT_ANYWHERE inline  // on the host, too
#define TTT_UNROLL
#define TTT_ROLLED  // before a loop whose body stands once: a compiler that repeats it takes registers for each turn

namespace ttt::kernels::cuda {

// --- for tests: running a kernel ---

// The order in which a block's threads run between two meetings; each warp goes on to the next barrier of the block
// before another one does anything. A kernel without races gives the same bits in each order.
enum class LaneOrder { kForward, kBackward, kShuffled };

struct EmulatedLaunch {
  int blocks = 1;
  int threads = 32;  // of a block, a multiple of 32
  int shared_bytes = 0;
  LaneOrder order = LaneOrder::kForward;
};

// What a launch did, over all blocks.
struct EmulatedCounts {
  std::int64_t products = 0;        // mma.sync of a warp
  std::int64_t matrix_loads = 0;    // ldmatrix.x4 of a warp
  std::int64_t bank_conflicts = 0;  // further passes over the banks that these needed
  std::int64_t block_barriers = 0;  // sync_block of a block
};

// Calls kernel(shared memory, filled with NaN) once for each thread of each block. Throws std::runtime_error with what
// went wrong and where (block, thread).
EmulatedCounts run_emulated(const EmulatedLaunch& launch, const std::function<void(char* shared)>& kernel);

// --- the words ---

int thread_in_block();
int block_in_grid();
int blocks_in_grid();
void sync_block();
// What lanes of the warp have written before it, in shared or global memory, all of them read after it; all lanes.
void sync_warp();
// x, of which the compiler does not know that it is the same at each turn of a loop: what is computed from it is then
// computed in the loop, and takes no registers beside it.
inline int recomputed(int x) {
  return x;
}

// The value of lane (own lane XOR mask), of lane `lane`; all lanes.
float shuffle_xor(float x, int mask);
float shuffle(float x, int lane);

// p, to be read or written as a whole of so many bytes, to which it must be aligned.
void check_alignment(const void* p, int bytes);
template <int kBytes, class T>
T* aligned(T* p) {
  check_alignment(p, kBytes);
  return p;
}

// Two floats rounded to the nearest bf16, ties to even.
inline std::uint32_t pack_bf16(float low, float high) {
  const auto round = [](float x) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
    if (std::isnan(x)) return std::uint32_t{0x7fff};
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  };
  return round(low) | round(high) << 16;
}
inline float low_bf16(std::uint32_t word) {
  return std::bit_cast<float>(word << 16);
}
inline float high_bf16(std::uint32_t word) {
  return std::bit_cast<float>(word & 0xffff0000u);
}

// An 8 x 8 matrix of bf16, lane 4 g + t holding (g, 2t..2t+1), transposed; all lanes.
std::uint32_t transpose_8x8(std::uint32_t row);

// C += A B with bf16 factors and fp32 sums; all lanes.
void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]);

// Four 8 x 8 matrices of bf16 from shared memory; lane 8 i + r passes the address of row r of matrix i (16 bytes,
// aligned to 16). words[i] of lane 4 g + t: (g, 2t..2t+1) of matrix i, or of its transpose; all lanes.
void load_matrices(std::uint32_t (&words)[4], const void* row);
void load_matrices_transposed(std::uint32_t (&words)[4], const void* row);

// Asynchronous copies to shared memory, 16 bytes each, zeros where not valid (the source is not read then). Those since
// the last close_copies() are a group; wait_for_copies<n>() returns when all of this thread's groups but the last n
// have arrived. Other threads see them after a sync_block() that follows.
void copy_16_bytes(void* to_shared, const void* from_global, bool valid);
void close_copies();
void wait_for_emulated_copies(int open);
template <int kOpen>
void wait_for_copies() {
  wait_for_emulated_copies(kOpen);
}

// Starts bringing the 128 bytes around an address in global memory into the second cache.
inline void prefetch_line(const void*) {}

// 1 / sqrt(x), to about 2 units in the last place.
inline float inverse_sqrt(float x) {
  return 1 / std::sqrt(x);
}
inline float square_root(float x) {
  return std::sqrt(x);
}
// e^x, to about 2 + |x| units in the last place.
inline float exponential(float x) {
  return std::exp(x);
}
// 2^x, to about 2 units in the last place; on a GPU 0 where that is less than 2^-126. Cheaper than e^x by four
// instructions.
inline float power_of_two(float x) {
  return std::exp2(x);
}
inline float natural_logarithm(float x) {
  return std::log(x);
}
inline float reciprocal(float x) {
  return 1 / x;
}

}  // namespace ttt::kernels::cuda
