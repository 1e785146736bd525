// What the inner loops of a model do along its context: the figures of the TTT paper (arXiv 2407.04620, figures 4 and
// 12 and its appendix), by layer and mini-batch, averaged over the windows of a data set.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <torch/types.h>

#include "base/json.h"
#include "data/dataset.h"
#include "model/language_model.h"

namespace ttt {

// One TTT layer; each list has one value a mini-batch. Losses: (LN(f(k; W)) - (v - k))^2, the mean over a head's
// values, of the mini-batch's last token.
struct InnerLoopLayer {
  std::int64_t layer = 0;
  std::vector<double> loss_w0;          // at the learned start W0
  std::vector<double> loss_before;      // at W_{t-1}, which the mini-batch starts from
  std::vector<double> loss_after;       // at W_t, after the step on it
  std::vector<double> weight_change;    // ||W_t - W0||, Frobenius, without biases
  std::vector<double> target_variance;  // of its first token's target, about the mean over the sequence
  std::vector<double> learning_rate;    // sigma, the mean over its tokens
};

struct InnerLoopTable {
  std::int64_t context = 0, mini_batch = 0;  // tokens
  std::int64_t windows = 0;
  std::vector<InnerLoopLayer> layers;

  // Tokens of mini-batch i, from 1.
  std::int64_t first_token(std::int64_t i) const { return i * mini_batch + 1; }
  std::int64_t last_token(std::int64_t i) const { return std::min((i + 1) * mini_batch, context); }
};

struct InnerLoopOptions {
  std::int64_t context = 2048, batch = 1;
  std::int64_t max_windows = 0;  // 0: all
  torch::Device device = torch::kCPU;
};

// Over the whole windows of the set, in data order. Throws UserError for a model without a TTT layer and for a set
// without a whole window. `progress` gets the windows done and all.
InnerLoopTable inner_loop_table(LanguageModel& model, const Dataset& data, const InnerLoopOptions& options,
                                const std::function<void(std::int64_t done, std::int64_t all)>& progress = {});

// {"context", "mini_batch", "windows", "layers": [{"layer", "from": [...], "to": [...], "loss_w0": [...], ...}]}
Json to_json(const InnerLoopTable& table);

// A line a layer at the first, the middle and the last mini-batch.
std::string to_text(const InnerLoopTable& table);

// Three losses over the position, one chart a layer.
std::string to_svg(const InnerLoopTable& table);

}  // namespace ttt
