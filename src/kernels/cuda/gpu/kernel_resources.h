// What the assembler gave every CUDA kernel of this build, and how many blocks of it a GPU's multiprocessor can hold.
// Only in builds with nvcc.
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

// Blocks of `threads` threads that a multiprocessor holds at a time, by NVIDIA's occupancy calculator; 0: a block needs
// more than there is. Architectures: sm_80 (A100) and sm_90a (H100, H200).
int blocks_on_multiprocessor(const std::string& architecture, int threads, int registers, int shared_bytes);

inline constexpr int kMostWarps = 64;  // on a multiprocessor of either architecture

}  // namespace ttt::kernels::cuda
