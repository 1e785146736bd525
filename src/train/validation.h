// Validation during training: the loss over each validation set, and over all of them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "data/mixture.h"
#include "infer/evaluate.h"
#include "model/language_model.h"

namespace ttt {

struct ValidationResult {
  EvalResult overall;
  std::vector<std::pair<std::string, EvalResult>> domains;  // where there are several sets
};

// Every set to at most options.max_samples samples. The overall loss weighs each set by all its tokens, so that it
// estimates the loss over the sets joined, however many samples were taken of each.
ValidationResult validate(LanguageModel& model, const std::vector<MixtureSource>& sets, const EvalOptions& options);

// Over all sets, with the inner learning rates times `scale` (train.eval_inner_lr_scales).
struct ScaledLoss {
  double scale = 1;
  EvalResult result;
};

// The line of metrics.jsonl (see train/metrics.h) and that of the log.
Json to_json(const ValidationResult& result, const std::vector<ScaledLoss>& scaled, std::int64_t step, double seconds);
// That of losses by position, where they were asked for.
Json position_line(const ValidationResult& result, std::int64_t step);
std::string to_text(const ValidationResult& result, const std::vector<ScaledLoss>& scaled, std::int64_t step);

}  // namespace ttt
