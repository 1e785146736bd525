// The "GPU" of tests: what the program's own host code starts (library ttt_cuda_gpu, built by nvcc) runs as PTX, out of
// the very binaries that nvcc has put into it. cuda_runtime.cpp stands in for the CUDA runtime.
#pragma once

#include <cstdint>
#include <string>
#include <typeinfo>
#include <vector>

#include "ptx/machine.h"

namespace ttt::ptx {

// The mangled name of the kernel of a Block (src/kernels/cuda/launch.h) with this mangled name (KernelPlan::type).
std::string kernel_of(const std::string& mangled_block);

// Runs the kernel of a Block on its arguments without the host's code. kForward stands for the usual order, which
// TTT_PTX_ORDER=shuffled changes as it does that of the host's launches.
Counts run_kernel(const std::type_info& block, const Launch& launch, const void* arguments, std::size_t bytes);

// The next launch finds this error of CUDA's: one that an earlier call has left, or one that the launch itself gets.
void leave_error(int error);
void fail_next_launch(int error);

// What ran so far of each kernel that nvcc has built.
struct KernelCoverage {
  std::string kernel;  // mangled
  std::int64_t launches = 0;
  std::size_t instructions = 0, executed = 0;  // of the PTX; 0 where it never ran
};
std::vector<KernelCoverage> coverage();

}  // namespace ttt::ptx
