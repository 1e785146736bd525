#include "train/summary.h"

#include <fstream>
#include <string>

#include "base/files.h"
#include "base/metrics_kind.h"
#include "checkpoint/checkpoint.h"

namespace ttt {

Json run_summary(const RunConfig& config, ExitCode code, std::int64_t first_step, double seconds) {
  const fs::path output(config.output_dir);
  const auto checkpoints = list_checkpoints(output / "checkpoints");
  Json last_step, valid;
  double step_seconds = 0;
  std::int64_t steps_done = 0;
  std::ifstream metrics(output / "metrics.jsonl");
  for (std::string text; std::getline(metrics, text);) {
    Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    const std::string kind = kind_of(line);
    if (kind == "train") {
      if (line.at("step").get<std::int64_t>() >= first_step) {
        step_seconds += line.at("seconds").get<double>();
        ++steps_done;
      }
      last_step = std::move(line);
    } else if (kind == "valid") {
      valid = std::move(line);
    }
  }
  const auto value = [&](const char* key) { return last_step.is_object() ? last_step.value(key, Json()) : Json(); };
  const double tokens_done = static_cast<double>(steps_done) * static_cast<double>(config.train.batch_tokens);
  return {{"status", code == ExitCode::kPreempted ? "preempted" : "finished"},
          {"output_dir", config.output_dir},
          {"checkpoint", checkpoints.empty() ? Json() : Json(checkpoints.back().second.string())},
          {"steps", value("step")},
          {"tokens", value("tokens")},
          {"loss", value("loss")},
          {"validation", valid},
          {"seconds", seconds},
          {"tokens_per_second", step_seconds > 0 ? Json(tokens_done / step_seconds) : Json()}};
}

}  // namespace ttt
