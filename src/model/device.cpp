#include "model/device.h"

#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <malloc.h>
#include <torch/cuda.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "base/build_info.h"
#include "base/error.h"
#include "base/log.h"
#include "base/machine.h"
#include "ops/kernel_table.h"

namespace ttt {
namespace {

constexpr double kMuchSlower = 3;

// Two digits.
std::string two_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%.1f" : "%.0f", value);
  return text;
}

// "13.0" of 13000
std::string cuda_version(long version) {
  return cat(version / 1000, ".", version % 1000 / 10);
}

// Why a program that has LibTorch's CUDA half sees no GPU: asked of the driver itself.
std::string why_no_gpu() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return "there is no NVIDIA driver";
  int version = 0;
  auto* get_version = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDriverGetVersion"));
  const bool known = get_version != nullptr && get_version(&version) == 0;
  const long built_with = at::detail::getCUDAHooks().versionCUDART();
  if (known && version / 1000 < built_with / 1000)
    return cat("the NVIDIA driver is for CUDA ", cuda_version(version), ", and this ttt needs one for CUDA ",
               built_with / 1000, ".0 or newer; update the driver");
  return "LibTorch sees no usable GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES";
}

}  // namespace

torch::Device select_device(DeviceKind kind, int local_rank, const char* setting) {
  if (kind == DeviceKind::kCpu) return torch::kCPU;
  const bool has_gpu = torch::cuda::is_available();
  if (has_gpu) {
    if (kind == DeviceKind::kAuto) log_info("device: cuda (auto)");
    const int gpus = static_cast<int>(torch::cuda::device_count());
    if (gpus > 1 && local_rank >= gpus) {
      user_error("process ", local_rank, " of this machine (from 0) has no GPU of its own: LibTorch sees ", gpus,
                 "; start as many processes a machine as it has GPUs");
    }
    return torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(gpus > 1 ? local_rank : 0));
  }
  const bool with_cuda = at::detail::getCUDAHooks().hasCUDART();
  if (kind == DeviceKind::kAuto) {
    log_info(cat("device: cpu (auto: ", with_cuda ? why_no_gpu() : "this ttt was built without CUDA", ")"));
    return torch::kCPU;
  }
  if (with_cuda) user_error(setting, " cuda was asked for but ", why_no_gpu(), "; or set ", setting, " cpu");
  user_error(setting,
             " cuda was asked for but this ttt was built without CUDA; run tools/setup.sh and tools/build.sh with "
             "TTT_CUDA=ON, or set ",
             setting, " cpu");
}

torch::Device select_device(const std::string& option) {
  const DeviceKind kind = option == "cpu" ? DeviceKind::kCpu : option == "cuda" ? DeviceKind::kCuda : DeviceKind::kAuto;
  return select_device(kind, /*local_rank=*/0, "--device");
}

bool select_bf16(DType dtype, torch::Device device) {
  if (dtype != DType::kAuto) return dtype == DType::kBf16;
  const std::vector<std::string> features = cpu_features();
  const bool pays = device.is_cuda() || std::find(features.begin(), features.end(), "amx-bf16") != features.end();
  if (pays) log_info("dtype: bf16 with fp32 master weights (train.dtype: auto)");
  return pays;
}

Bf16Products select_bf16_products(ProductsKind kind, torch::Device device, const std::string& stored) {
  Bf16Products chosen = Bf16Products::kNative;
  if (device.is_cpu()) {
    const Bf16ProductSpeed speed = measure_bf16_products();
    const std::string measured = cat("a bf16 product of LibTorch does ", two_digits(speed.native),
                                     " GFLOP/s a core here, through fp32 ", two_digits(speed.fp32_panels));
    chosen = kind == ProductsKind::kNative       ? Bf16Products::kNative
             : kind == ProductsKind::kFp32Panels ? Bf16Products::kFp32Panels
             : stored.empty()                    ? speed.faster()
                                                 : bf16_products_of(stored);
    const bool native = chosen == Bf16Products::kNative;
    const double slower = native ? speed.fp32_panels / speed.native : speed.native / speed.fp32_panels;
    const char* why = kind != ProductsKind::kAuto ? "as set" : stored.empty() ? "auto" : "as the run began";
    if (slower > kMuchSlower) {
      log_warn(cat("train.bf16_products: ", to_string(chosen), " (", why, ") is ", two_digits(slower),
                   " times slower on this machine than ",
                   to_string(native ? Bf16Products::kFp32Panels : Bf16Products::kNative), ": ", measured,
                   "; setting the other one changes results by rounding"));
    } else if (!native) {
      log_info(cat("train.bf16_products: fp32_panels (", why, "): ", measured));
    }
  }
  set_bf16_products(chosen);
  return chosen;
}

void select_kernels(const TrainConfig& train) {
  read_kernel_environment();
  std::vector<KernelChoice> choices = {{"ttt", train.ttt_kernel, "train.ttt_kernel"}};
  for (const auto& [op, row] : train.kernels) choices.push_back({op, row, "train.kernels"});
  force_kernels(choices);
}

void prepare_cpu(std::int64_t threads, const LocalProcesses& processes) {
  if (threads == 0) {
    threads =
        std::max<std::int64_t>(static_cast<std::int64_t>(allowed_processors().size()) / processes.on_these_cores, 1);
    const int limit = control_group_cores(static_cast<int>(processes.on_this_host));
    if (limit > 0) threads = std::min<std::int64_t>(threads, limit);
  }
  at::set_num_threads(static_cast<int>(threads));
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, std::numeric_limits<int>::max());  // else every tensor of 32 MB and more is mapped anew
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

}  // namespace ttt
