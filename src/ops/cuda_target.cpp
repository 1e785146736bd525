#include "ops/cuda_target.h"

#include "base/error.h"
#ifdef TTT_CUDA_KERNELS
#include <ATen/Context.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <cstdlib>

#include "kernels/cuda/gpu/kernel_resources.h"
#endif

namespace ttt {
namespace {

const kernels::cuda::KernelTable* emulated_gpu = nullptr;

int emulated_shared_bytes = 0;

}  // namespace

EmulatedGpu::EmulatedGpu(const kernels::cuda::KernelTable& table, int shared_bytes) {
  TTT_CHECK(emulated_gpu == nullptr, "a GPU is emulated already");
  emulated_gpu = &table;
  emulated_shared_bytes = shared_bytes;
}
EmulatedGpu::~EmulatedGpu() {
  emulated_gpu = nullptr;
}

#ifdef TTT_CUDA_KERNELS

const kernels::cuda::KernelTable* cuda_kernels(at::Device device) {
  return device.is_cuda() ? &kernels::cuda::gpu::kernels() : emulated_gpu;
}

const kernels::cuda::KernelTable* any_cuda_kernels() {
  return &kernels::cuda::gpu::kernels();
}

bool has_cuda_kernels() {
  return emulated_gpu != nullptr || at::hasCUDA();
}

std::string gpu_name(at::Device device) {
  if (!device.is_cuda()) return "";
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device.index());
  if (error != cudaSuccess) fail("GPU ", device.index(), ": its properties: ", cudaGetErrorString(error));
  return properties.name;
}

bool compiles_cuda_kernels(at::Device device) {
  if (!device.is_cuda()) return false;
  int major = 0;
  const cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index());
  if (error != cudaSuccess) fail("GPU ", device.index(), ": its compute capability: ", cudaGetErrorString(error));
  const std::vector<kernels::cuda::KernelResources>& built = kernels::cuda::kernel_resources();
  return std::none_of(built.begin(), built.end(), [&](const kernels::cuda::KernelResources& line) {
    return std::atoi(line.architecture.c_str() + 3) / 10 == major;  // of "sm_90a"
  });
}

int cuda_shared_limit(at::Device device) {
  if (!device.is_cuda()) return emulated_shared_bytes;
  int bytes = 0;
  const cudaError_t error = cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device.index());
  if (error != cudaSuccess) fail("GPU ", device.index(), ": its shared memory: ", cudaGetErrorString(error));
  return bytes;
}

GpuMemory gpu_memory(at::Device device) {
  if (!device.is_cuda()) return {};
  const c10::DeviceGuard guard(device);
  std::size_t free = 0, total = 0;
  const cudaError_t error = cudaMemGetInfo(&free, &total);
  if (error != cudaSuccess) fail("GPU ", device.index(), ": its memory: ", cudaGetErrorString(error));
  return {static_cast<std::int64_t>(free), static_cast<std::int64_t>(total)};
}

int gpu_multiprocessors(at::Device device) {
  if (!device.is_cuda()) return 0;
  int count = 0;
  const cudaError_t error = cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device.index());
  if (error != cudaSuccess) fail("GPU ", device.index(), ": its multiprocessors: ", cudaGetErrorString(error));
  return count;
}

kernels::cuda::Stream cuda_stream(at::Device device) {
  return device.is_cuda() ? c10::cuda::getCurrentCUDAStream(device.index()).stream() : nullptr;
}

#else

const kernels::cuda::KernelTable* cuda_kernels(at::Device device) {
  return device.is_cuda() ? nullptr : emulated_gpu;
}

const kernels::cuda::KernelTable* any_cuda_kernels() {
  return emulated_gpu;
}

bool has_cuda_kernels() {
  return emulated_gpu != nullptr;
}

std::string gpu_name(at::Device device) {
  return device.is_cuda() ? "an unnamed GPU (this ttt was built without nvcc)" : "";
}

bool compiles_cuda_kernels(at::Device) {
  return false;
}

int cuda_shared_limit(at::Device) {
  return emulated_shared_bytes;
}

int gpu_multiprocessors(at::Device) {
  return 0;
}

GpuMemory gpu_memory(at::Device) {
  return {};
}

kernels::cuda::Stream cuda_stream(at::Device) {
  return nullptr;
}

#endif

}  // namespace ttt
