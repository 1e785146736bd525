#include "bench/kernel_plan.h"

#include "base/error.h"
#include "bench/op_bench.h"
#ifdef TTT_CUDA_KERNELS
#include "kernels/cuda/gpu/kernel_resources.h"
#endif

namespace ttt {

#ifdef TTT_CUDA_KERNELS

std::vector<PlannedKernel> kernel_plan(const std::string& op) {
  namespace cuda = kernels::cuda;
  find_op(op);
  std::vector<PlannedKernel> plans;
  for (const cuda::KernelPlan& kernel : cuda::gpu::kernels().plans()) {
    if (kernel.op != op) continue;
    PlannedKernel& plan = plans.emplace_back(PlannedKernel{kernel.kernel, kernel.threads, kernel.shared_bytes, {}});
    for (const auto& [architecture, gpu] : {std::pair{"sm_80", "A100"}, {"sm_90a", "H100, H200"}}) {
      const cuda::KernelResources* line = cuda::find_resources(cuda::kernel_resources(), kernel, architecture);
      TTT_CHECK(line != nullptr, kernel.op, " ", kernel.kernel, " on ", architecture);
      KernelFit fit{architecture, gpu, line->registers, line->spill_bytes, 0, 0};
      fit.blocks = cuda::blocks_on_multiprocessor(architecture, kernel.threads, line->registers, kernel.shared_bytes);
      fit.occupancy = static_cast<double>(fit.blocks * kernel.threads) / (32 * cuda::kMostWarps);
      plan.fits.push_back(std::move(fit));
    }
  }
  return plans;
}

#else

std::vector<PlannedKernel> kernel_plan(const std::string& op) {
  find_op(op);
  return {};
}

#endif

Json to_json(const std::vector<PlannedKernel>& plan) {
  Json all = Json::array();
  for (const PlannedKernel& kernel : plan) {
    Json fits = Json::array();
    for (const KernelFit& fit : kernel.fits)
      fits.push_back({{"architecture", fit.architecture},
                      {"gpu", fit.gpu},
                      {"registers", fit.registers},
                      {"spill_bytes", fit.spill_bytes},
                      {"blocks_per_multiprocessor", fit.blocks},
                      {"occupancy", fit.occupancy}});
    all.push_back({{"kernel", kernel.kernel},
                   {"threads", kernel.threads},
                   {"shared_bytes", kernel.shared_bytes},
                   {"on", std::move(fits)}});
  }
  return all;
}

}  // namespace ttt
