// Loss of a model over a data set: nats a token, perplexity, bits a byte.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <torch/types.h>

#include "data/dataset.h"
#include "model/language_model.h"

namespace ttt {

// What a batch adds up to.
struct EvalSums {
  double nats = 0;  // -log p of scored targets
  std::int64_t tokens = 0, bytes = 0, samples = 0;
};

// Several processes evaluate together: this one takes batches rank, rank + size, ... A round of `size` batches ends
// with exchange(own), which returns the sums of all, by rank. So each process adds up the same numbers in the same
// order as one alone would. What exchange throws ends the evaluation.
struct EvalShare {
  std::int64_t rank = 0, size = 1;
  std::function<std::vector<EvalSums>(const EvalSums& own)> exchange;  // may be empty for one process
};

struct EvalOptions {
  std::int64_t context = 2048;
  std::int64_t batch = 1;        // sequences at once; the last batch may be smaller
  std::int64_t max_samples = 0;  // the first so many windows; 0: all
  torch::Device device = torch::kCPU;
  bool padded_vocabulary = false;   // the model may have more ids than the data: both have the same tokenizer
  bool reset_at_documents = false;  // a document sees nothing of the one before; the data declare a BOS id
  EvalShare share{};
};

struct EvalResult {
  double loss = 0;  // mean -log p over scored tokens, natural log
  double bits_per_byte =
      0;  // total -log2 p over the bytes of text that the scored targets stand for; NaN without a tokenizer
  std::int64_t tokens = 0;   // scored targets (a target equal to a declared BOS is not scored)
  std::int64_t samples = 0;  // windows
};

// Windows that hold a set's targets, each `context` of them, the last one what is left: ceil((num_tokens - 1) /
// context).
std::int64_t num_windows(const Dataset& data, std::int64_t context);

// Windows in data order, no gradients, inner learning rate multiplier 1. `on_batch` gets each batch's -log p [b,T] fp32
// on the CPU (0 where a target is not scored, as is what the last window lacks). Throws UserError when the set has no
// target or another vocabulary.
EvalResult evaluate(LanguageModel& model, const Dataset& data, const EvalOptions& options,
                    const std::function<void(const torch::Tensor& token_loss_BT)>& on_batch = {});

}  // namespace ttt
