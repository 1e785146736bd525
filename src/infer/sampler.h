// Choosing the next token from logits: temperature, top-k, top-p.
//
//     p = softmax(logits / temperature);  top-k: the k largest, renormalised;  top-p: of these the fewest largest whose
//     sum reaches p, renormalised.  Among equal probabilities the lower id goes first.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.h"

namespace ttt {

struct SamplingOptions {
  double temperature = 1.0;  // 0: the largest logit (the lowest id among equals)
  std::int64_t top_k = 0;    // 0: all
  double top_p = 1.0;        // (0, 1]
};

// Throws UserError for a negative temperature or top_k, or a top_p outside (0, 1].
void validate(const SamplingOptions& options);

// The distribution that a token is drawn from: logits [V] -> probabilities [V], zero for what is cut off, summing to 1.
// Throws Error when no logit is finite or one is NaN.
std::vector<double> sampling_distribution(std::span<const float> logits_V, const SamplingOptions& options);

// Draws tokens; the n-th draw depends on (seed, n) and the logits alone.
class Sampler {
 public:
  Sampler(const SamplingOptions& options, std::uint64_t seed);  // validates
  std::int32_t operator()(std::span<const float> logits_V);

 private:
  SamplingOptions options_;
  CounterRng rng_;
};

}  // namespace ttt
