// What each target counts in a step's loss.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>

#include "config/run_config.h"

namespace ttt {

// Scored targets: those that their set says (data/dataset.h), else all but those equal to a declared BOS id.
std::int64_t count_scored(const torch::Tensor& targets_BT, std::optional<std::int32_t> bos_id,
                          const torch::Tensor& scored_BT = {});

// The whole step's, over all ranks.
struct StepTotals {
  std::int64_t sequences = 0;  // B
  std::int64_t scored = 0;     // N
};

// targets [b,T] int64, of this rank's b of the step's B sequences -> weights [b,T] fp32; over all ranks, loss =
// sum(weights * -log p). Targets that are not scored have weight 0. Of n_b scored targets in sequence b, N in all:
//
//     kTokens      1 / N
//     kSequences   1 / (n_b B): the mean over a sequence's scored targets, then over sequences (the official code's)
//
// Since they are fixed for the whole step, the losses and gradients of micro-batches and ranks simply add up.
torch::Tensor loss_weights(const torch::Tensor& targets_BT, std::optional<std::int32_t> bos_id, LossAverage average,
                           const StepTotals& step, const torch::Tensor& scored_BT = {});

}  // namespace ttt
