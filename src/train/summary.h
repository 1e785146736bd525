// What a training came to, for the script that started it.
#pragma once

#include "base/error.h"
#include "base/json.h"
#include "config/run_config.h"

namespace ttt {

// {"status": "finished" | "preempted", "output_dir", "checkpoint" (the newest), "steps", "tokens", "loss" (of the last
// step), "validation" (the last line of kind "valid" in metrics.jsonl, or null), "seconds" (of this start),
// "tokens_per_second" (over its steps alone; null when it did none)}. `first_step`: the first step that this start did.
Json run_summary(const RunConfig& config, ExitCode code, std::int64_t first_step, double seconds);

}  // namespace ttt
