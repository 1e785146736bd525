#include "infer/ngram.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "infer/evaluate.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

// Sorts `grams` and folds equal ones: keys, and the running sum of their counts.
void fold(std::vector<std::uint64_t>& grams, std::vector<std::uint64_t>& count_before) {
  std::sort(grams.begin(), grams.end());
  std::size_t unique = 0;
  count_before.assign(1, 0);
  for (std::size_t i = 0; i < grams.size();) {
    std::size_t end = i;
    while (end < grams.size() && grams[end] == grams[i]) ++end;
    grams[unique++] = grams[i];
    count_before.push_back(end);
    i = end;
  }
  grams.resize(unique);
  grams.shrink_to_fit();
}

// n1 / (n1 + 2 n2), or 0.75 where that says nothing.
double estimate_discount(const std::vector<std::uint64_t>& count_before) {
  double once = 0, twice = 0;
  for (std::size_t i = 1; i < count_before.size(); ++i) {
    const std::uint64_t count = count_before[i] - count_before[i - 1];
    once += count == 1;
    twice += count == 2;
  }
  return once > 0 && twice > 0 ? once / (once + 2 * twice) : 0.75;
}

}  // namespace

NgramModel::NgramModel(std::span<const std::int32_t> tokens, std::int64_t vocab_size, int max_order,
                       std::optional<std::int32_t> bos_id)
    : vocab_size_(static_cast<std::uint64_t>(vocab_size)) {
  TTT_CHECK(vocab_size > 0 && max_order > 0, vocab_size, " ", max_order);
  if (std::pow(static_cast<double>(vocab_size), max_order) > 0x1.0p63) {
    user_error("n-grams of order ", max_order, " over a vocabulary of ", vocab_size,
               " do not fit 64 bits; take a lower order");
  }
  for (int order = 1; order <= max_order; ++order) {
    Table table;
    const auto length = static_cast<std::size_t>(order);
    std::uint64_t modulus = 1;  // V^order: what falls out of the window
    for (int i = 0; i < order; ++i) modulus *= vocab_size_;
    std::uint64_t key = 0;
    if (tokens.size() >= length) table.keys.reserve(tokens.size() - length + 1);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      key = (key * vocab_size_ + static_cast<std::uint64_t>(tokens[i])) % modulus;
      if (i + 1 >= length && !(bos_id && tokens[i] == *bos_id)) table.keys.push_back(key);
    }
    fold(table.keys, table.count_before);
    table.discount = estimate_discount(table.count_before);
    tables_.push_back(std::move(table));
  }
}

void NgramModel::log_probs(std::span<const std::int32_t> tokens, std::int64_t at, double* out) const {
  const auto token = static_cast<std::uint64_t>(tokens[static_cast<std::size_t>(at)]);
  double probability = 1.0 / static_cast<double>(vocab_size_);
  std::uint64_t history = 0;  // the k-1 tokens before, as a number
  std::uint64_t place_value = 1;
  for (int order = 1; order <= max_order(); ++order) {
    if (order > 1) {
      const std::int64_t oldest = at - order + 1;
      if (oldest < 0) {
        out[order - 1] = std::log(probability);
        continue;
      }
      history += place_value * static_cast<std::uint64_t>(tokens[static_cast<std::size_t>(oldest)]);
      place_value *= vocab_size_;
    }
    const Table& table = tables_[static_cast<std::size_t>(order - 1)];
    const auto begin = std::lower_bound(table.keys.begin(), table.keys.end(), history * vocab_size_);
    const auto end = std::lower_bound(begin, table.keys.end(), (history + 1) * vocab_size_);
    const auto counted = [&](auto first, auto last) {
      return static_cast<double>(table.count_before[static_cast<std::size_t>(last - table.keys.begin())] -
                                 table.count_before[static_cast<std::size_t>(first - table.keys.begin())]);
    };
    const double total = counted(begin, end);
    if (total > 0) {
      const std::uint64_t key = history * vocab_size_ + token;
      const auto found = std::lower_bound(begin, end, key);
      const double count = found != end && *found == key ? counted(found, found + 1) : 0;
      const auto followers = static_cast<double>(end - begin);
      probability = std::max(count - table.discount, 0.0) / total + table.discount * followers / total * probability;
    }
    out[order - 1] = std::log(probability);
  }
}

NgramBaseline ngram_baseline(const Dataset& train, const Dataset& valid, int max_order, std::int64_t context,
                             std::int64_t max_samples) {
  if (train.vocab_size() != valid.vocab_size() || train.tokenizer_hash() != valid.tokenizer_hash()) {
    user_error("the data sets '", train.directory().string(), "' and '", valid.directory().string(),
               "' were not made with the same tokenizer; prepare both with one");
  }
  const std::int64_t window = context > 0 ? context : 1;
  std::int64_t last_target = valid.num_tokens() - 1;  // its place
  if (max_samples > 0 && max_samples < num_windows(valid, window)) last_target = max_samples * window;
  if (last_target < 1) {
    user_error("the data set '", valid.directory().string(), "' has ", valid.num_tokens(),
               " tokens, too few for an input and its target; prepare it from more text");
  }
  const NgramModel model(train.tokens(0, train.num_tokens()), train.vocab_size(), max_order, train.bos_id());
  const std::vector<std::int32_t> tokens = valid.tokens(0, last_target + 1);
  std::vector<std::uint8_t> marks;
  if (valid.has_scores()) marks = valid.marks(0, last_target + 1);
  std::vector<std::int32_t> token_bytes(static_cast<std::size_t>(valid.vocab_size()), 0);
  if (!valid.tokenizer_path().empty()) {
    const std::vector<std::int32_t> sizes = Tokenizer(valid.tokenizer_path()).token_bytes();
    std::copy(sizes.begin(), sizes.end(), token_bytes.begin());
  }

  NgramBaseline result;
  result.train_tokens = train.num_tokens();
  std::vector<double> log_prob(static_cast<std::size_t>(max_order)), total(static_cast<std::size_t>(max_order), 0.0);
  for (std::int64_t at = 1; at <= last_target; ++at) {
    const std::int32_t target = tokens[static_cast<std::size_t>(at)];
    if (!marks.empty() ? (marks[static_cast<std::size_t>(at)] & kScored) == 0 : target == valid.bos_id()) continue;
    model.log_probs(tokens, at, log_prob.data());
    for (std::size_t k = 0; k < total.size(); ++k) total[k] -= log_prob[k];
    ++result.tokens;
    result.bytes += token_bytes[static_cast<std::size_t>(target)];
  }
  if (result.tokens == 0)
    user_error("the data set '", valid.directory().string(), "' has no scored token",
               marks.empty() ? ": every target is BOS" : "");
  for (std::size_t k = 0; k < total.size(); ++k) {
    const int order = static_cast<int>(k) + 1;
    const double bits = total[k] / std::log(2.0);
    result.scores.push_back(
        {order, model.discount(order), total[k] / static_cast<double>(result.tokens),
         result.bytes > 0 ? bits / static_cast<double>(result.bytes) : std::numeric_limits<double>::quiet_NaN()});
  }
  return result;
}

}  // namespace ttt
