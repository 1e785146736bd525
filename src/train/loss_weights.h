// What each target counts in a step's loss.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>

#include "config/run_config.h"

namespace ttt {

// targets [B,T] int64, all sequences of the step -> weights [B,T] fp32 with loss = sum(weights * -log p). A target
// equal to a declared BOS id has weight 0. Of n_b scored targets in sequence b, N in all:
//
//     kTokens      1 / N
//     kSequences   1 / (n_b B): the mean over a sequence's scored targets, then over sequences (the official code's)
//
// Since they are fixed for the whole step, the micro-batches' losses and gradients simply add up.
torch::Tensor loss_weights(const torch::Tensor& targets_BT, std::optional<std::int32_t> bos_id, LossAverage average);

}  // namespace ttt
