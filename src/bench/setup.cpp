#include "bench/setup.h"

#include "model/device.h"
#include "model/self_check.h"

namespace ttt {

BenchSetup set_up(const TrainConfig& train) {
  const torch::Device device = select_device(train.device);
  prepare_cpu(train.threads);
  select_kernels(train);
  self_check(device, train.self_check);
  const bool bf16 = select_bf16(train.dtype, device);
  if (bf16) select_bf16_products(train.bf16_products, device);
  return {device, bf16};
}

}  // namespace ttt
