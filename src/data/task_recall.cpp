// Tasks of association: a value is written with a key, and the key is asked for later.
//
//     mqar          Arora et al., arXiv 2312.04927 (zoology): keys from [1, V/2), values from [V/2, V), both without
//                   replacement; k1 v1 .. kn vn, then slots of a key and its value; slot gaps without replacement with
//                   p(i) ~ a i^(a-1), a = 0.01, i from 1; what is free is filled with random tokens of [0, V)
//     induction     Olsson et al., arXiv 2209.11895, as in Mamba's paper: a special token comes twice; what stood
//                   behind it stands behind it again
//     fuzzy_recall  MAD, arXiv 2403.17844: keys and values of one to three tokens
//     memorisation  MAD: one table of keys and values for all samples, which only weights can hold
#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/error.h"
#include "data/task.h"

namespace ttt {
namespace {

constexpr double kSlotPower = 0.01;  // a

const char* const kPlain = "plain";
const char* const kForgetting = "forgetting";
const char* const kCompositional = "compositional";

class Mqar : public Task {
 public:
  Mqar()
      : Task("mqar", "k1 v1 .. kn vn, then at random places k v: every v there is scored",
             {{"length", "64", "tokens of a sample", 4, 1 << 24},
              {"pairs", "4", "keys, each of which is asked for once", 1, 1 << 20},
              {"vocab_size", "512", "the lower half are keys, the upper values", 4, 1 << 24},
              {"kind",
               kPlain,
               "forgetting: `rewrites` of the keys are written again with another value, the last one counts; "
               "compositional: a key is two tokens, each as a rule a part of several keys; 4 pairs or more",
               0,
               0,
               {kPlain, kForgetting, kCompositional}},
              {"rewrites", "0", "of the kind forgetting; 0: half of the pairs", 0, 1 << 20}}) {}

  void check(const TaskSettings& s) const override {
    const std::int64_t V = s["vocab_size"], n = s["pairs"], r = rewrites(s), width = slot(s), L = s["length"];
    if (V % 2 != 0) user_error("task mqar: vocab_size ", V, " is odd; give an even one, half keys and half values");
    if (r > n) user_error("task mqar: ", r, " rewrites of ", n, " pairs; give at most as many as pairs");
    if (s["rewrites"] > 0 && s.word("kind") != kForgetting)
      user_error("task mqar: only the kind forgetting has rewrites; leave them out, or give --set kind=forgetting");
    const bool two = s.word("kind") == kCompositional;
    if (two && n < 4)
      user_error("task mqar: of ", n, " compositional keys one token would tell the value; give at least 4 pairs");
    const std::int64_t keys = two ? parts(n) * 2 : n;
    if (keys > V / 2 - 1 || n + r > V / 2)
      user_error("task mqar: a vocab_size of ", V, " has ", V / 2 - 1, " keys and ", V / 2, " values, too few for ", n,
                 " pairs", r > 0 ? cat(" and ", r, " rewrites") : "", "; give a larger one");
    if (slots(s) < n)
      user_error("task mqar: a length of ", L, " has no room for ", n, " pairs and as many questions; give at least ",
                 width * (2 * n + r));
  }

  std::int64_t vocab_size(const TaskSettings& s) const override { return s["vocab_size"]; }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return s["length"]; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const std::int64_t V = s["vocab_size"], n = s["pairs"], r = rewrites(s), width = slot(s);
    const auto at = [](std::int64_t i) { return static_cast<std::size_t>(i); };
    const std::vector<std::vector<std::int64_t>> keys = draw_keys(s, rng);
    std::vector<std::int64_t> values = draw_different(rng, V / 2, V, n + r);
    std::vector<std::int64_t> writes(at(n));  // numbers of keys
    for (std::int64_t i = 0; i < n; ++i) writes[at(i)] = i;
    if (r > 0) {
      for (const std::int64_t key : draw_different(rng, 0, n, r)) writes.push_back(key);
      shuffle(rng, writes);
    }
    TaskSample sample;
    sample.items = static_cast<std::uint32_t>(n);
    std::vector<std::int64_t> last(at(n));
    for (std::size_t i = 0; i < writes.size(); ++i) {
      for (const std::int64_t token : keys[at(writes[i])]) sample.add(token);
      sample.add(values[i]);
      last[at(writes[i])] = values[i];
    }
    std::vector<double> weights;
    for (std::int64_t i = 1; i <= slots(s); ++i)
      weights.push_back(kSlotPower * std::pow(static_cast<double>(i), kSlotPower - 1));
    std::vector<std::int64_t> key_at(weights.size(), -1);
    const std::vector<std::int64_t> gaps = draw_weighted(rng, weights, n);
    for (std::int64_t i = 0; i < n; ++i) key_at[at(gaps[at(i)])] = i;
    for (const std::int64_t key : key_at) {
      if (key < 0) {
        for (std::int64_t i = 0; i < width; ++i) sample.add(draw_below(rng, V));
        continue;
      }
      for (const std::int64_t token : keys[at(key)]) sample.add(token);
      sample.answer({last[at(key)]});
    }
    while (static_cast<std::int64_t>(sample.tokens.size()) < s["length"]) sample.add(draw_below(rng, V));
    return sample;
  }

 private:
  static std::int64_t slot(const TaskSettings& s) { return s.word("kind") == kCompositional ? 3 : 2; }
  static std::int64_t rewrites(const TaskSettings& s) {
    if (s.word("kind") != kForgetting) return 0;
    return s["rewrites"] > 0 ? s["rewrites"] : std::max<std::int64_t>(1, s["pairs"] / 2);
  }
  static std::int64_t slots(const TaskSettings& s) { return s["length"] / slot(s) - s["pairs"] - rewrites(s); }
  // First and second tokens that n keys are put together from: so few that each is part of about two keys or more. With
  // fewer than four keys one token would tell the value.
  static std::int64_t parts(std::int64_t n) {
    return std::max<std::int64_t>(2, static_cast<std::int64_t>(std::ceil(std::sqrt(static_cast<double>(n)))));
  }

  static std::vector<std::vector<std::int64_t>> draw_keys(const TaskSettings& s, CounterRng& rng) {
    const std::int64_t V = s["vocab_size"], n = s["pairs"];
    std::vector<std::vector<std::int64_t>> keys;
    if (s.word("kind") != kCompositional) {
      for (const std::int64_t key : draw_different(rng, 1, V / 2, n)) keys.push_back({key});
      return keys;
    }
    const std::int64_t m = parts(n);
    const std::vector<std::int64_t> tokens = draw_different(rng, 1, V / 2, 2 * m);
    for (const std::int64_t pair : draw_different(rng, 0, m * m, n))
      keys.push_back({tokens[static_cast<std::size_t>(pair / m)], tokens[static_cast<std::size_t>(m + pair % m)]});
    return keys;
  }
};

constexpr std::int64_t kInductionMark = 1, kInductionFirst = 2;

class Induction : public Task {
 public:
  Induction()
      : Task("induction", "random tokens, in them the mark and a token x; at the end the mark and x, which is scored",
             {{"length", "256", "tokens of a sample", 5, 1 << 24},
              {"vocab_size", "18", "with padding 0 and the mark 1, which comes nowhere else", 4, 1 << 24}}) {}

  std::int64_t vocab_size(const TaskSettings& s) const override { return s["vocab_size"]; }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return s["length"]; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const std::int64_t read = s["length"] - 2, place = draw_below(rng, read - 2);  // x is not the last that is read
    TaskSample sample;
    sample.items = 1;
    std::int64_t x = 0;
    for (std::int64_t i = 0; i < read; ++i) {
      const std::int64_t token = draw_between(rng, kInductionFirst, s["vocab_size"] - 1);
      sample.add(i == place ? kInductionMark : token);
      if (i == place + 1) x = token;
    }
    sample.add(kInductionMark);
    sample.answer({x});
    return sample;
  }
};

constexpr std::int64_t kFuzzyAsk = 1, kFuzzyFirst = 2, kFuzzyLongest = 3;

class FuzzyRecall : public Task {
 public:
  FuzzyRecall()
      : Task(
            "fuzzy_recall",
            "k1 v1 .. kn vn ? k v k v ..: keys and values are one to three tokens, every v behind ? is scored",
            {{"pairs", "8", "keys, each of which is asked for once", 1, 1 << 16},
             {"vocab_size", "64", "with padding 0 and the question mark 1; then half keys, half values", 8, 1 << 24}}) {
  }

  void check(const TaskSettings& s) const override {
    const std::int64_t n = s["pairs"], half = half_of(s);
    // Keys of different first tokens: no key is the beginning of another.
    if (n > half)
      user_error("task fuzzy_recall: a vocab_size of ", s["vocab_size"], " has first tokens for ", half,
                 " keys and not for ", n, "; give at least ", 2 * n + kFuzzyFirst);
  }
  std::int64_t vocab_size(const TaskSettings& s) const override { return s["vocab_size"]; }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return 4 * kFuzzyLongest * s["pairs"] + 1; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const std::int64_t n = s["pairs"], half = half_of(s);
    std::vector<std::vector<std::int64_t>> keys, values;
    for (const std::int64_t first : draw_different(rng, kFuzzyFirst, kFuzzyFirst + half, n)) {
      keys.push_back({first});
      values.emplace_back();
      const std::int64_t more = draw_below(rng, kFuzzyLongest), of_value = draw_between(rng, 1, kFuzzyLongest);
      for (std::int64_t i = 0; i < more; ++i) keys.back().push_back(kFuzzyFirst + draw_below(rng, half));
      for (std::int64_t i = 0; i < of_value; ++i) values.back().push_back(kFuzzyFirst + half + draw_below(rng, half));
    }
    TaskSample sample;
    sample.items = static_cast<std::uint32_t>(n);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      for (const std::int64_t token : keys[i]) sample.add(token);
      for (const std::int64_t token : values[i]) sample.add(token);
    }
    sample.add(kFuzzyAsk);
    for (const std::int64_t i : draw_different(rng, 0, n, n)) {
      for (const std::int64_t token : keys[static_cast<std::size_t>(i)]) sample.add(token);
      sample.answer(values[static_cast<std::size_t>(i)]);
    }
    sample.pad(sample_tokens(s), 0);
    return sample;
  }

 private:
  static std::int64_t half_of(const TaskSettings& s) { return (s["vocab_size"] - kFuzzyFirst) / 2; }
};

class Memorisation : public Task {
 public:
  Memorisation()
      : Task("memorisation",
             "k v k v ..: v is what the table has for k, and is scored; the table is that of all samples",
             {{"length", "32", "tokens of a sample, even", 2, 1 << 24},
              {"vocab_size", "256", "the lower half are keys, the upper values", 4, 1 << 24},
              {"table", "0", "number of the table: its seed, which --seed is not", 0, std::int64_t{1} << 40}}) {}

  void check(const TaskSettings& s) const override {
    if (s["length"] % 2 != 0 || s["vocab_size"] % 2 != 0)
      user_error("task memorisation: length ", s["length"], " and vocab_size ", s["vocab_size"],
                 " must be even, for keys and values");
  }
  std::int64_t vocab_size(const TaskSettings& s) const override { return s["vocab_size"]; }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return s["length"]; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const std::int64_t half = s["vocab_size"] / 2;
    const std::uint64_t table = stream_seed(static_cast<std::uint64_t>(s["table"]), "memorisation table");
    TaskSample sample;
    sample.items = static_cast<std::uint32_t>(half);
    for (std::int64_t i = 0; i < s["length"] / 2; ++i) {
      const std::int64_t key = draw_below(rng, half);
      CounterRng entry(table, static_cast<std::uint64_t>(key));
      sample.add(key);
      sample.answer({half + draw_below(entry, half)});
    }
    return sample;
  }
};

}  // namespace

std::vector<const Task*> recall_tasks() {
  static const Mqar mqar;
  static const Induction induction;
  static const FuzzyRecall fuzzy;
  static const Memorisation memorisation;
  return {&mqar, &induction, &fuzzy, &memorisation};
}

}  // namespace ttt
