// Dynamic evaluation (Krause et al., arXiv 1709.07432; of the whole model what is now called test-time training): each
// chunk of text is scored first, and then learnt from by one step on its mean -log p.
#pragma once

#include <torch/optim/optimizer.h>
#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "model/language_model.h"

namespace ttt {

enum class AdaptMethod { kSgd, kAdamw };

struct AdaptOptions {
  AdaptMethod method = AdaptMethod::kSgd;
  double lr = 0;           // constant; no momentum, no weight decay, AdamW's betas 0.9 and 0.999
  std::int64_t chunk = 0;  // targets: at most a window, of which it is a part then, or a multiple of it
  // Blocks whose parameters learn, by number; empty: all parameters, embedding and head too.
  std::set<std::int64_t> layers = {};
  bool reset_at_documents = false;  // each document begins with the checkpoint's own parameters
};

// "0,3-5" -> {0, 3, 4, 5}; "all" -> {}. Throws UserError for anything else and for blocks that a model of `num_layers`
// has not.
std::set<std::int64_t> parse_layers(const std::string& text, std::int64_t num_layers);

class Adapter {
 public:
  // The model is in fp32. Its parameters change with every step, and stay changed.
  Adapter(LanguageModel& model, const AdaptOptions& options);

  // One step on the mean -log p over the scored ones of the last `count` targets. tokens, targets [B,T] int64 on the
  // model's device, scored [B,count] bool on the CPU. Nothing where none is scored. Throws UserError where the loss is
  // not finite.
  void learn(const torch::Tensor& tokens_BT, const torch::Tensor& targets_BT, const torch::Tensor& scored_BC);

  // Parameters and the optimizer's state as at first.
  void reset();

 private:
  LanguageModel& model_;
  AdaptOptions options_;
  std::vector<torch::Tensor> parameters_, initial_;  // those that learn
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
};

}  // namespace ttt
