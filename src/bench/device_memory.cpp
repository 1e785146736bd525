#include "bench/device_memory.h"

#include <torch/cuda.h>

#include "base/error.h"
#include "bench/timing.h"
#ifdef TTT_CUDA_KERNELS
#include <c10/cuda/CUDACachingAllocator.h>
#endif

namespace ttt {

void synchronize(at::Device device) {
  if (device.is_cuda()) torch::cuda::synchronize(device.index());
}

double dense_bf16_peak(const std::string& gpu) {
  const auto has = [&](const char* word) { return gpu.find(word) != std::string::npos; };
  if (has("A100")) return 312e12;
  // The PCIe and NVL cards have fewer multiprocessors or lower clocks.
  if ((has("H100") || has("H200")) && !has("PCIe") && !has("NVL")) return 989e12;
  return 0;
}

#ifdef TTT_CUDA_KERNELS

std::int64_t peak_memory(at::Device device) {
  if (!device.is_cuda()) return peak_resident_bytes();
  constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return c10::cuda::CUDACachingAllocator::getDeviceStats(device.index()).allocated_bytes[kAll].peak;
}

void reset_peak_memory(at::Device device) {
  if (device.is_cuda()) c10::cuda::CUDACachingAllocator::resetPeakStats(device.index());
}

#else

std::int64_t peak_memory(at::Device device) {
  return device.is_cuda() ? 0 : peak_resident_bytes();
}

void reset_peak_memory(at::Device) {}

#endif

}  // namespace ttt
