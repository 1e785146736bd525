// What every benchmark of a config's model begins with.
#pragma once

#include <torch/types.h>

#include "config/run_config.h"

namespace ttt {

struct BenchSetup {
  torch::Device device;
  bool bf16;  // whether the model computes in it
};

// Chooses the device and sets CPU threads and the TTT kernel as the config says. Throws UserError where it asks for a
// GPU that is not there.
BenchSetup set_up(const TrainConfig& train);

}  // namespace ttt
