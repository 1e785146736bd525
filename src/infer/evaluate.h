// Loss of a model over a data set: nats a token, perplexity, bits a byte; by position; how many answers are right.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <torch/types.h>

#include "data/dataset.h"
#include "infer/adapt.h"
#include "infer/position_loss.h"
#include "infer/regression_error.h"
#include "infer/windows.h"
#include "model/language_model.h"

namespace ttt {

// What a batch adds up to.
struct EvalSums {
  double nats = 0;  // -log p of scored targets
  std::int64_t tokens = 0, bytes = 0, samples = 0;
  // Of a set that says which targets are scored: those that the model holds for the most likely ones; answers (runs of
  // scored targets of one window, see data/dataset.h), and those that are right as a whole.
  std::int64_t correct = 0, answers = 0, correct_answers = 0;

  EvalSums& operator+=(const EvalSums& other);
};

// Several processes evaluate together: this one takes batches rank, rank + size, ... A round of `size` batches ends
// with exchange(own), which returns the sums of all, by rank. So each process adds up the same numbers in the same
// order as one alone would. What exchange throws ends the evaluation. gather(own) returns the bytes of all, by rank; it
// is called once at the end, where losses by position are asked for.
struct EvalShare {
  std::int64_t rank = 0, size = 1;
  std::function<std::vector<EvalSums>(const EvalSums& own)> exchange = {};      // may be empty for one process
  std::function<std::vector<std::string>(const std::string& own)> gather = {};  // likewise
};

struct EvalOptions {
  std::int64_t context = 2048;
  std::int64_t batch = 1;        // sequences at once; the last batch may be smaller
  std::int64_t max_samples = 0;  // the first so many windows; 0: all
  torch::Device device = torch::kCPU;
  bool padded_vocabulary = false;   // the model may have more ids than the data: both have the same tokenizer
  bool reset_at_documents = false;  // a document sees nothing of the one before; the data declare a BOS id
  EvalShare share{};

  // Which windows, infer/windows.h. `samples`: every document is a window of its own, whatever the context.
  bool documents = false;
  std::int64_t stride = 0;
  bool carry_state = false;
  bool samples = false;
  // Windows of more than so many tokens are computed in pieces of it with a carried state, which bounds the memory; 0:
  // every window at once. Not with reset_at_documents.
  std::int64_t piece = 0;

  // Each chunk is learnt from after it was scored; `batch` is how many windows a chunk has, 1 where it is part of one.
  // With its reset, windows begin at each document's start. Not with stride, carry_state, piece, reset_at_documents.
  std::optional<AdaptOptions> adapt = {};

  // Called after each piece with the tokens computed so far by this process: windows may be long.
  std::function<void(std::int64_t tokens)> on_tokens = {};

  bool positions = false;  // losses by position, infer/position_loss.h
  std::uint64_t seed = 0;  // of their intervals
};

struct EvalResult {
  double loss = 0;  // mean -log p over scored tokens, natural log
  double bits_per_byte =
      0;  // total -log2 p over the bytes of text that the scored targets stand for; NaN without a tokenizer
  std::int64_t tokens = 0;   // scored targets (a target equal to a declared BOS is not scored)
  std::int64_t samples = 0;  // windows
  std::optional<PositionLosses> positions;

  // Of a set that says which targets are scored (data/dataset.h).
  bool has_answers = false;
  EvalSums totals;                                       // samples: windows
  std::optional<RegressionErrors> regression;            // of the task regression, by samples
  std::map<std::int64_t, EvalSums> by_length, by_items;  // of samples, evaluated as such: tokens, number of items
};

// Windows that hold a set's targets, each `context` of them, the last one what is left: ceil((num_tokens - 1) /
// context).
std::int64_t num_windows(const Dataset& data, std::int64_t context);

// The windows of an evaluation, in data order. Throws UserError where there is none.
EvalWindows windows_of(const Dataset& data, const EvalOptions& options);

// Those windows, no gradients, inner learning rate multiplier 1. `on_batch` gets each batch's -log p [b,T] fp32 on the
// CPU, T the windows' context (0 where a target is not scored, as is what a shorter window lacks). Throws UserError
// when the set has no target or another vocabulary.
EvalResult evaluate(LanguageModel& model, const Dataset& data, const EvalOptions& options,
                    const std::function<void(const torch::Tensor& token_loss_BT)>& on_batch = {});

}  // namespace ttt
