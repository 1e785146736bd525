// What the assembler gave every CUDA kernel of this build, and how many blocks of it a GPU's multiprocessor can hold.
#pragma once

#include <string>
#include <vector>

#include "kernels/cuda/kernel_table.h"

namespace ttt::kernels::cuda {

// A line of ptxas -v. tools/ptxas_table.sh writes the table from the build's logs.
struct KernelResources {
  std::string kernel;        // mangled
  std::string architecture;  // "sm_80"
  int registers = 0;         // of a thread
  int spill_bytes = 0;       // stores of a thread
};
const std::vector<KernelResources>& kernel_resources();

// The line of a kernel for an architecture; null where there is none.
const KernelResources* find_resources(const std::vector<KernelResources>& table, const KernelPlan& plan,
                                      const std::string& architecture);

struct Gpu {
  const char* name;          // "A100"
  const char* architecture;  // "sm_80"
};
// The GPUs whose occupancy is shown.
const std::vector<Gpu>& known_gpus();

// Blocks of a kernel that a multiprocessor of the GPU holds at a time, and their warps of its largest number; 0: more
// than it has.
struct Occupancy {
  int blocks = 0;
  int warps = 0;
  int most_warps = 64;
};
Occupancy occupancy(const Gpu& gpu, const KernelPlan& plan, int registers);

}  // namespace ttt::kernels::cuda
