// What every benchmark of a config's model begins with.
#pragma once

#include <torch/types.h>

#include "config/run_config.h"

namespace ttt {

struct BenchSetup {
  torch::Device device;
  bool bf16;  // whether the model computes in it
};

// Chooses the device, sets CPU threads and kernels as the config says, and does the self-check. Throws UserError where it asks for a
// GPU that is not there.
BenchSetup set_up(const TrainConfig& train);

}  // namespace ttt
