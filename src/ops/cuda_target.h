// Which calls run on CUDA kernels of this project (kernels/cuda), and how an op starts one.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>

#include <string>

#include "kernels/cuda/kernel_table.h"

namespace ttt {

// The kernels for tensors on that device; null for a CPU, and where the program was built without nvcc.
const kernels::cuda::KernelTable* cuda_kernels(at::Device device);
inline const kernels::cuda::KernelTable* cuda_kernels(const at::Tensor& x) {
  return cuda_kernels(x.device());
}

// The kernels for some device, whether or not there is one; null where the program was built without nvcc.
const kernels::cuda::KernelTable* any_cuda_kernels();
// Whether some device has kernels: a GPU that there is.
bool has_cuda_kernels();

// "NVIDIA H100 80GB HBM3"; "" on a CPU.
std::string gpu_name(at::Device device);
// Whether the kernels are compiled when they are first started there, by the driver and from PTX, which takes it
// minutes: on a GPU that is younger than what the program was built for.
bool compiles_cuda_kernels(at::Device device);

// Bytes of shared memory that a block may have on that device.
int cuda_shared_limit(at::Device device);

// Bytes of a GPU's memory; zeros where there is none.
struct GpuMemory {
  std::int64_t free = 0, total = 0;
};
GpuMemory gpu_memory(at::Device device);
// How many blocks run side by side at the least; 0 where there is no GPU, or the program was built without nvcc.
int gpu_multiprocessors(at::Device device);

// The stream that LibTorch's own calls on that device are in.
kernels::cuda::Stream cuda_stream(at::Device device);

// Starts the kernel that takes these arguments, on the device that cuda_kernels() is not null for.
template <class Arguments>
void launch_cuda(at::Device device, const Arguments& arguments) {
  const c10::OptionalDeviceGuard guard(device.is_cuda() ? std::optional<at::Device>(device) : std::nullopt);
  cuda_kernels(device)->launch(arguments, cuda_stream(device));
}

// For tests: while one lives, tensors on the CPU are taken for a GPU's and their kernels come from `table`, which runs
// them by emulated lanes.
class EmulatedGpu {
 public:
  // shared_bytes: of a block, at most; Hopper's where it is not given.
  explicit EmulatedGpu(const kernels::cuda::KernelTable& table, int shared_bytes = 227 << 10);
  ~EmulatedGpu();
  EmulatedGpu(const EmulatedGpu&) = delete;
  EmulatedGpu& operator=(const EmulatedGpu&) = delete;
};

}  // namespace ttt
