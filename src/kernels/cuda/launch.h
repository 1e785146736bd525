// For the .cu files: launching a Block on the target that the file is compiled for, by nvcc a GPU, by any other
// compiler emulated lanes. A .cu file holds no CUDA of its own:
//
//   namespace ttt::kernels::cuda::TTT_TARGET {
//   void add_NAME(KernelTable& table) {
//     table.add<Arguments>(launch_it);
//     table.add_plan(plan_of<Block>("op", "kernel"));
//   }
//   }
//
// A Block is a class with: kThreads and kSharedBytes; a constructor from (const Arguments&, char* shared memory) and
// run(), both TTT_DEVICE; kResident, if registers are to be limited so that a processor holds that many blocks at a
// time. Arguments are plain data with std::string shape() const, for errors.
#pragma once

#include <limits>
#include <typeinfo>

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/warp.h"

#ifdef __CUDACC__
#define TTT_TARGET gpu
#else
#define TTT_TARGET emulated
#endif

namespace ttt::kernels::cuda::TTT_TARGET {

#ifdef __CUDACC__
template <class Block>
constexpr int kResidentBlocks = [] {
  if constexpr (requires { Block::kResident; }) return Block::kResident;
  return 0;
}();
template <class Block, class Arguments>
__global__ void __launch_bounds__(Block::kThreads, kResidentBlocks<Block>)
    block_kernel(const __grid_constant__ Arguments arguments) {
  extern __shared__ __align__(128) char shared[];
  Block(arguments, shared).run();
}

// Errors of a kernel that runs already. Whatever call of CUDA's comes next reports them, and all that follow.
inline bool is_of_earlier_kernel(cudaError_t error) {
  for (const cudaError_t sticky :
       {cudaErrorIllegalAddress, cudaErrorMisalignedAddress, cudaErrorInvalidAddressSpace, cudaErrorInvalidPc,
        cudaErrorIllegalInstruction, cudaErrorHardwareStackError, cudaErrorLaunchFailure, cudaErrorLaunchTimeout,
        cudaErrorAssert, cudaErrorECCUncorrectable, cudaErrorNvlinkUncorrectable, cudaErrorUnknown})
    if (error == sticky) return true;
  return false;
}

// Of what came before a launch, so that it is not taken for the launch's own.
inline void check_before_launch(cudaError_t error, const char* name) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  fail("before kernel ", name,
       " was started an earlier call of CUDA's had failed, or a kernel: ", cudaGetErrorString(error),
       "; with CUDA_LAUNCH_BLOCKING=1 it is named where it fails");
}

inline void check_launch(cudaError_t error, const char* name, const std::string& shape, std::int64_t blocks,
                         int threads, int shared_bytes) {
  if (error == cudaSuccess) return;
  if (is_of_earlier_kernel(error)) check_before_launch(error, name);
  cudaGetLastError();  // so that nobody else takes it for its own
  fail("the GPU refused kernel ", name, " (", shape, "; ", blocks, " blocks of ", threads, " threads and ",
       shared_bytes, " bytes of shared memory): ", cudaGetErrorString(error));
}
#endif

// Starts `blocks` blocks. name: of the kernel, for errors.
template <class Block, class Arguments>
void launch(const char* name, const Arguments& arguments, std::int64_t blocks, [[maybe_unused]] Stream stream) {
  TTT_CHECK(blocks <= std::numeric_limits<int>::max(), name, ", ", arguments.shape(), ": ", blocks, " blocks");
  if (blocks == 0) return;
#ifdef __CUDACC__
  const auto check = [&](cudaError_t error) {
    if (error != cudaSuccess)
      check_launch(error, name, arguments.shape(), blocks, Block::kThreads, Block::kSharedBytes);
  };
  if (const cudaError_t before = cudaPeekAtLastError(); before != cudaSuccess) check_before_launch(before, name);
  const auto kernel = block_kernel<Block, Arguments>;
  if constexpr (Block::kSharedBytes > (48 << 10))  // more has to be asked for
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Block::kSharedBytes));
  kernel<<<static_cast<unsigned>(blocks), Block::kThreads, Block::kSharedBytes, static_cast<cudaStream_t>(stream)>>>(
      arguments);
  check(cudaGetLastError());
#else
  run_emulated({static_cast<int>(blocks), Block::kThreads, Block::kSharedBytes},
               [&](char* shared) { Block(arguments, shared).run(); });
#endif
}

template <class Block>
KernelPlan plan_of(const char* op, std::string kernel) {
  return {op, std::move(kernel), typeid(Block).name(), Block::kThreads, Block::kSharedBytes};
}

}  // namespace ttt::kernels::cuda::TTT_TARGET
