// What a launch of each CUDA kernel does, counted from its source: blocks, bytes of global memory, products, other
// fp32 operations. From this kernel_prediction.h makes a time. Counts are functions of the shape, one a kernel, each
// with a comment that says what is counted: ttt_work.cpp, row_work.cpp.
//
// An fp32 operation is an addition, multiplication, comparison or half of a fused multiply-add. Reciprocals, roots and
// exponentials take eight times as long as a fused multiply-add and count as kSpecial operations. Not counted:
// conversions, shuffles, addresses, shared memory, what is done once a row, not once a value.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bench/op_case.h"

namespace ttt {

inline constexpr double kSpecial = 16;                // a multiprocessor makes 16 a clock, and 128 fused multiply-adds
inline constexpr double kSigmoid = 2 * kSpecial + 3;  // exponential with its factor, 1 +, reciprocal, times a value
inline constexpr double kGelu = kSigmoid + 5;         // GeluTanh and its value
inline constexpr double kGeluSlope = 9, kGeluCurvature = 16;  // beside what kGelu has but for the value

struct KernelWork {
  std::string kernel;  // as kernels/cuda/kernel_table.h has it: "forward bf16 64"
  int threads = 0;     // of a block
  int shared_bytes = 0;
  std::int64_t blocks = 0;
  std::int64_t serial_steps = 1;  // that a block takes one after the other, each from what the last one made
  double bytes = 0;               // read and written of global memory, each value once
  double scratch_bytes = 0;       // of a block's own scratch memory, each access: traffic of the second cache
  double mma_flop = 0;            // of mma.sync; products in fp32 are three of them
  double fp32_flop = 0;           // all others
  std::string note = {};          // what the launch is of, where it is not the whole shape
};

// An op with CUDA kernels.
struct CountedOp {
  const char* name;
  // The kernels that take that shape and type, forward and backward, as `ttt bench op` calls them; null: not counted.
  std::vector<KernelWork> (*work)(const OpSizes& sizes);
};

// All ops with CUDA kernels, in the order of op_table().
const std::vector<CountedOp>& counted_ops();

std::vector<KernelWork> ttt_linear_work(const OpSizes& sizes);  // ttt_work.cpp
std::vector<KernelWork> ttt_mlp_work(const OpSizes& sizes);
std::vector<KernelWork> rms_norm_work(const OpSizes& sizes);  // row_work.cpp
std::vector<KernelWork> swiglu_work(const OpSizes& sizes);
std::vector<KernelWork> layer_norm_gate_work(const OpSizes& sizes);
std::vector<KernelWork> causal_conv_work(const OpSizes& sizes);
std::vector<KernelWork> rope_work(const OpSizes& sizes);
std::vector<KernelWork> conv_rope_work(const OpSizes& sizes);
std::vector<KernelWork> cross_entropy_work(const OpSizes& sizes);
std::vector<KernelWork> adamw_work(const OpSizes& sizes);

// --- for counting ---

// Block: a class of kernels/cuda, see launch.h there.
template <class Block>
KernelWork kernel_work(std::string kernel, std::int64_t blocks) {
  KernelWork work;
  work.kernel = std::move(kernel), work.blocks = blocks;
  work.threads = Block::kThreads, work.shared_bytes = Block::kSharedBytes;
  return work;
}

// body(Element()), Element being the type of activations as the kernels name it.
template <class Body>
std::vector<KernelWork> work_of_type(const OpSizes& sizes, const Body& body) {
  return sizes.dtype == at::kBFloat16 ? body(std::uint16_t()) : body(float());
}

}  // namespace ttt
