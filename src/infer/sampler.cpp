// Choosing the next token from logits.
#include "infer/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace ttt {
namespace {

std::size_t largest(std::span<const float> logits_V) {
  TTT_CHECK(!logits_V.empty(), "no logits");
  for (const float logit : logits_V) {
    if (std::isnan(logit))
      fail("the model's logits are not numbers; its parameters are damaged or its training diverged");
  }
  return static_cast<std::size_t>(std::max_element(logits_V.begin(), logits_V.end()) - logits_V.begin());
}

}  // namespace

void validate(const SamplingOptions& options) {
  if (!(options.temperature >= 0) || std::isinf(options.temperature)) {
    user_error("the temperature must be a number of at least 0 (0: always the likeliest token), not ",
               options.temperature);
  }
  if (options.top_k < 0) user_error("top-k must be at least 1, or 0 for all tokens, not ", options.top_k);
  if (!(options.top_p > 0 && options.top_p <= 1))
    user_error("top-p must be above 0 and at most 1 (1: all tokens), not ", options.top_p);
}

std::vector<double> sampling_distribution(std::span<const float> logits_V, const SamplingOptions& options) {
  const std::size_t best = largest(logits_V);
  const double peak = logits_V[best];
  if (!std::isfinite(peak))
    fail("the model's logits are not finite; its parameters are damaged or its training diverged");
  std::vector<double> p_V(logits_V.size(), 0.0);
  if (options.temperature == 0) {
    p_V[best] = 1.0;
    return p_V;
  }
  for (std::size_t v = 0; v < p_V.size(); ++v) p_V[v] = std::exp((logits_V[v] - peak) / options.temperature);

  const std::size_t k = options.top_k > 0 ? std::min(static_cast<std::size_t>(options.top_k), p_V.size()) : p_V.size();
  if (k < p_V.size() || options.top_p < 1.0) {
    std::vector<std::size_t> order(p_V.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    // By logit, not probability: far below the peak different logits underflow to equal probabilities.
    const auto before = [&](std::size_t a, std::size_t b) {
      return logits_V[a] != logits_V[b] ? logits_V[a] > logits_V[b] : a < b;
    };
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k), order.end(), before);
    double kept_by_k = 0;
    for (std::size_t i = 0; i < k; ++i) kept_by_k += p_V[order[i]];
    std::size_t kept = k;
    if (options.top_p < 1.0) {
      double sum = 0;
      for (kept = 0; kept < k && sum < options.top_p * kept_by_k; ++kept) sum += p_V[order[kept]];
    }
    for (std::size_t i = kept; i < order.size(); ++i) p_V[order[i]] = 0.0;
  }
  const double total = std::accumulate(p_V.begin(), p_V.end(), 0.0);
  for (double& p : p_V) p /= total;
  return p_V;
}

Sampler::Sampler(const SamplingOptions& options, std::uint64_t seed)
    : options_(options), rng_(stream_seed(seed, "sampling")) {
  validate(options);
}

std::int32_t Sampler::operator()(std::span<const float> logits_V) {
  const double u = rng_.uniform();  // drawn for greedy choices too: a draw's place in the stream is its index
  if (options_.temperature == 0) return static_cast<std::int32_t>(largest(logits_V));
  const std::vector<double> p_V = sampling_distribution(logits_V, options_);
  std::size_t chosen = 0;
  double sum = 0;
  for (std::size_t v = 0; v < p_V.size(); ++v) {
    if (p_V[v] == 0.0) continue;
    chosen = v;  // the last possible token takes what rounding leaves below 1
    sum += p_V[v];
    if (u < sum) break;
  }
  return static_cast<std::int32_t>(chosen);
}

}  // namespace ttt
