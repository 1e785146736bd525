#include "bench/cpu_setup.h"

#include "base/error.h"
#include "model/device.h"
#include "ops/ttt.h"

namespace ttt {

bool set_up_cpu(const TrainConfig& train, const char* command) {
  if (train.device == DeviceKind::kCuda)
    user_error("`", command, "` measures the CPU and the config says train.device: cuda; set train.device=cpu");
  prepare_cpu(train.threads);
  force_ttt_kernel(train.ttt_kernel, "train.ttt_kernel");
  return select_bf16(train.dtype, torch::kCPU);
}

}  // namespace ttt
