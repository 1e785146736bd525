// Token-level n-gram models: the numbers that a neural model on the same tokens has to beat.
//
//     p_k(w | h) = max(c(h w) - d_k, 0) / c(h) + d_k N(h) / c(h) p_{k-1}(w | h'),   p_0 = 1 / V
//
// Interpolated absolute discounting (Ney, Essen, Kneser 1994): h the k-1 tokens before w, h' without its first, c
// counts in the training tokens, N(h) how many different tokens followed h, d_k = n1 / (n1 + 2 n2) with n1, n2 the
// k-grams seen once and twice (0.75 when either is 0). Where h was never seen, p_k = p_{k-1}.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/dataset.h"

namespace ttt {

class NgramModel {
 public:
  // Counts k-grams for k = 1..max_order; those that end in `bos_id` are not counted, as models are not trained on that
  // target. Needs about 8 * max_order bytes of memory a token. Throws UserError when vocab_size^max_order exceeds 64
  // bits.
  NgramModel(std::span<const std::int32_t> tokens, std::int64_t vocab_size, int max_order,
             std::optional<std::int32_t> bos_id);

  // log p_k(tokens[at] | tokens[at-k+1 .. at-1]) for k = 1..max_order into out[k-1], natural log. A history that would
  // begin before the first token is cut.
  void log_probs(std::span<const std::int32_t> tokens, std::int64_t at, double* out) const;

  int max_order() const { return static_cast<int>(tables_.size()); }
  double discount(int order) const { return tables_[static_cast<std::size_t>(order - 1)].discount; }

 private:
  // k-grams as numbers in base V, sorted: those that share a history lie side by side.
  struct Table {
    std::vector<std::uint64_t> keys;
    std::vector<std::uint64_t> count_before;  // [keys + 1]: counts of the keys before, summed
    double discount = 0.75;
  };
  std::uint64_t vocab_size_;
  std::vector<Table> tables_;  // [order - 1]
};

// Losses of the models on a validation set.
struct NgramBaseline {
  struct Score {
    int order = 0;
    double discount = 0;
    double loss = 0;           // nats a token
    double bits_per_byte = 0;  // NaN without a tokenizer
  };
  std::vector<Score> scores;
  std::int64_t train_tokens = 0;
  std::int64_t tokens = 0;  // scored targets
  std::int64_t bytes = 0;   // of text that they stand for
};

// Counts on `train` and scores the targets of `valid` that evaluate() scores with this context and max_samples (0: all;
// context 0: every token but the first; of a set that says what is scored, that alone). Histories run on over the
// borders of samples. Throws UserError when the two sets' vocabularies or tokenizers differ or there is nothing to
// score.
NgramBaseline ngram_baseline(const Dataset& train, const Dataset& valid, int max_order, std::int64_t context = 0,
                             std::int64_t max_samples = 0);

}  // namespace ttt
