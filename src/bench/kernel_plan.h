// What is known of an op's CUDA kernels without a GPU: registers, shared memory, and how many blocks a multiprocessor
// holds (`ttt bench op NAME --plan`).
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace ttt {

// A kernel on one architecture.
struct KernelFit {
  std::string architecture;  // "sm_80"
  std::string gpu;           // "A100"
  int registers = 0;         // of a thread
  int spill_bytes = 0;       // stores of a thread
  int blocks = 0;            // on a multiprocessor at a time; 0: one needs more than there is
  double occupancy = 0;      // their warps, of the most that a multiprocessor can hold
};

struct PlannedKernel {
  std::string kernel;  // "forward bf16 64"
  int threads = 0;     // of a block
  int shared_bytes = 0;
  std::vector<KernelFit> fits;
};

// Of the op of that name, as `ttt bench op` has it; none where it has no CUDA kernels or this program was built without
// nvcc. Throws UserError with the nearest name when there is no such op.
std::vector<PlannedKernel> kernel_plan(const std::string& op);

Json to_json(const std::vector<PlannedKernel>& plan);

}  // namespace ttt
