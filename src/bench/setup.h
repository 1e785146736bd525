// What every benchmark of a config's model begins with.
#pragma once

#include "config/run_config.h"

namespace ttt {

// Sets CPU threads and the TTT kernel as the config says; whether the model computes in bf16. Throws UserError, naming
// the command, for a config that asks for a GPU.
bool set_up_cpu(const TrainConfig& train, const char* command);

}  // namespace ttt
