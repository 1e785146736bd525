// A model in training on one batch of random tokens: what is timed where whole steps are.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>

#include "config/run_config.h"
#include "model/language_model.h"
#include "optim/adamw.h"
#include "optim/schedule.h"

namespace ttt {

struct StepTimes {
  double forward = 0, backward = 0, optimizer = 0, whole = 0;  // seconds
  double loss = 0;
};

class TrainingSteps {
 public:
  // Model and optimizer as the trainer builds them; the tokens are those of a fixed seed.
  TrainingSteps(const RunConfig& config, bool bf16, at::Device device);

  // As Trainer::step(), by phase.
  StepTimes step();

  const LanguageModel& model() const { return *model_; }
  std::int64_t parameters() const;

 private:
  RunConfig config_;
  Schedule schedule_;
  std::shared_ptr<LanguageModel> model_;
  std::unique_ptr<AdamW> optimizer_;
  torch::Tensor tokens_BT_;
  std::int64_t updates_ = 0;
};

}  // namespace ttt
