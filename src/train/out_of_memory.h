// A training step that ran out of memory: what to change, in one sentence.
#pragma once

#include <c10/util/Exception.h>

#include <string>

#include "config/run_config.h"

namespace ttt {

// Whether LibTorch could not get memory, from a GPU or from the system.
bool is_out_of_memory(const c10::Error& error);

// "out of memory in step 12, micro-batches of 8 x 2048 tokens (CUDA out of memory. Tried to allocate ...); set ...".
std::string out_of_memory_text(const c10::Error& error, std::int64_t step, const RunConfig& config);

}  // namespace ttt
