#include "kernels/cuda/gpu/kernel_resources.h"

#include <cuda_occupancy.h>

namespace ttt::kernels::cuda {
namespace {

// What both architectures have in common, and their shared memory (CUDA C++ programming guide, "Compute
// Capabilities").
cudaOccDeviceProp properties_of(const std::string& architecture) {
  TTT_CHECK(architecture == "sm_80" || architecture == "sm_90a", architecture);
  const bool ampere = architecture == "sm_80";
  cudaOccDeviceProp gpu;
  gpu.computeMajor = ampere ? 8 : 9;
  gpu.maxThreadsPerBlock = 1024;
  gpu.maxThreadsPerMultiprocessor = 32 * kMostWarps;
  gpu.regsPerBlock = gpu.regsPerMultiprocessor = 65536;
  gpu.warpSize = 32;
  gpu.sharedMemPerBlock = 48 << 10;
  gpu.reservedSharedMemPerBlock = 1 << 10;
  gpu.sharedMemPerMultiprocessor = (ampere ? 164 : 228) << 10;
  gpu.sharedMemPerBlockOptin = gpu.sharedMemPerMultiprocessor - gpu.reservedSharedMemPerBlock;
  gpu.numSms = ampere ? 108 : 132;
  return gpu;
}

}  // namespace

const KernelResources* find_resources(const std::vector<KernelResources>& table, const KernelPlan& plan,
                                      const std::string& architecture) {
  // N3ttt7kernels4cuda21TttLinearForwardBlockItLi64ELi4EEE -> 21TttLinearForwardBlockItLi64ELi4EE, as it stands in the
  // kernel's name.
  const std::string scope = "N3ttt7kernels4cuda";
  TTT_CHECK(plan.type.starts_with(scope) && plan.type.ends_with("E"), plan.type);
  const std::string block = plan.type.substr(scope.size(), plan.type.size() - scope.size() - 1);
  for (const KernelResources& line : table)
    if (line.architecture == architecture && line.kernel.find(block) != std::string::npos) return &line;
  return nullptr;
}

int blocks_on_multiprocessor(const std::string& architecture, int threads, int registers, int shared_bytes) {
  const cudaOccDeviceProp gpu = properties_of(architecture);
  cudaOccFuncAttributes function;
  function.maxThreadsPerBlock = gpu.maxThreadsPerBlock;
  function.numRegs = registers;
  function.partitionedGCConfig = PARTITIONED_GC_OFF;
  function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  function.maxDynamicSharedSizeBytes = gpu.sharedMemPerBlockOptin;
  function.numBlockBarriers = 1;
  cudaOccDeviceState state;
  state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
  cudaOccResult result;
  const cudaOccError error = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &gpu, &function, &state, threads,
                                                                     static_cast<std::size_t>(shared_bytes));
  TTT_CHECK(error == CUDA_OCC_SUCCESS, "occupancy of ", threads, " threads, ", registers, " registers, ", shared_bytes,
            " bytes: error ", error);
  return result.activeBlocksPerMultiprocessor;
}

}  // namespace ttt::kernels::cuda
