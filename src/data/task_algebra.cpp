// Tasks of following a state, of which only the last is asked for: nothing in between gives it away. Ids: 0 padding, 1
// the question mark, then what each task has. Lengths are uniform between two bounds; samples are padded.
//
//     parity      whether the number of ones is odd (Hahn, arXiv 1906.06755; lengths of Grazzi et al.,
//                 arXiv 2411.12537: train on 3 to 40, test on 40 to 256)
//     modular     an expression modulo m (Deletang et al., arXiv 2207.02098, without brackets: products come first)
//     group       the product of a word of S3, A5 or S5, from the left (Merrill et al., arXiv 2404.08819)
//     regression  in-context linear regression (Garg et al., arXiv 2208.01066): x in R^d, y = w . x / sqrt(d), a token
//                 for each number, of 256 equal bins of [-4, 4]; every y is scored
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "data/task.h"

namespace ttt {
namespace {

constexpr std::int64_t kAsk = 1, kFirstElement = 2;

std::vector<TaskParameter> with_lengths(const char* items, std::vector<TaskParameter> more = {}) {
  std::vector<TaskParameter> all = {{"min_length", "3", cat(items, ", at least"), 1, 1 << 22},
                                    {"max_length", "40", "at most", 1, 1 << 22}};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

void check_lengths(const TaskSettings& s) {
  if (s["min_length"] > s["max_length"])
    user_error("task ", s.task().name(), ": min_length ", s["min_length"], " is more than max_length ",
               s["max_length"]);
}

class ParityTask : public Task {
 public:
  ParityTask() : Task("parity", "bits, ?, their sum modulo 2, which is scored", with_lengths("bits")) {}

  void check(const TaskSettings& s) const override { check_lengths(s); }
  std::int64_t vocab_size(const TaskSettings&) const override { return kFirstElement + 2; }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return s["max_length"] + 2; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const std::int64_t n = draw_between(rng, s["min_length"], s["max_length"]);
    TaskSample sample;
    sample.items = static_cast<std::uint32_t>(n);
    std::int64_t odd = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t bit = draw_below(rng, 2);
      odd ^= bit;
      sample.add(kFirstElement + bit);
    }
    sample.add(kAsk);
    sample.answer({kFirstElement + odd});
    sample.pad(sample_tokens(s), 0);
    return sample;
  }
};

constexpr std::int64_t kPlus = 2, kMinus = 3, kTimes = 4, kFirstNumber = 5;

class Modular : public Task {
 public:
  Modular()
      : Task("modular", "numbers with + - * between them, ?, the value modulo m, which is scored",
             with_lengths("numbers", {{"modulus", "5", "m", 2, 1 << 20}})) {}

  void check(const TaskSettings& s) const override { check_lengths(s); }
  std::int64_t vocab_size(const TaskSettings& s) const override { return kFirstNumber + s["modulus"]; }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return 2 * s["max_length"] + 1; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const std::int64_t n = draw_between(rng, s["min_length"], s["max_length"]), m = s["modulus"];
    TaskSample sample;
    sample.items = static_cast<std::uint32_t>(n);
    std::int64_t sum = 0, product = draw_below(rng, m);  // product: of the term that is open, with its sign
    sample.add(kFirstNumber + product);
    for (std::int64_t i = 1; i < n; ++i) {
      const std::int64_t sign = draw_between(rng, kPlus, kTimes), number = draw_below(rng, m);
      sample.add(sign);
      sample.add(kFirstNumber + number);
      if (sign == kTimes) {
        product = product * number % m;
      } else {
        sum = (sum + product) % m;
        product = sign == kPlus ? number : (m - number) % m;
      }
    }
    sample.add(kAsk);
    sample.answer({kFirstNumber + (sum + product) % m});
    sample.pad(sample_tokens(s), 0);
    return sample;
  }
};

using Permutation = std::vector<int>;

// Of 0 .. points-1 in lexicographic order; the even ones alone, or all.
std::vector<Permutation> permutations(int points, bool even_alone) {
  Permutation p(static_cast<std::size_t>(points));
  std::iota(p.begin(), p.end(), 0);
  std::vector<Permutation> all;
  do {
    int inversions = 0;
    for (std::size_t i = 0; i < p.size(); ++i)
      for (std::size_t j = i + 1; j < p.size(); ++j) inversions += p[i] > p[j];
    if (!even_alone || inversions % 2 == 0) all.push_back(p);
  } while (std::next_permutation(p.begin(), p.end()));
  return all;
}

class Group : public Task {
 public:
  Group()
      : Task("group", "elements of a group, ?, their product from the left, which is scored",
             with_lengths("elements",
                          {{"group", "s5", "permutations of 3 or 5, A: the even ones", 0, 0, {"s3", "a5", "s5"}}})) {}

  void check(const TaskSettings& s) const override { check_lengths(s); }
  std::int64_t vocab_size(const TaskSettings& s) const override {
    return kFirstElement + static_cast<std::int64_t>(elements(s).size());
  }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return s["max_length"] + 2; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const std::vector<Permutation>& all = elements(s);
    const std::int64_t n = draw_between(rng, s["min_length"], s["max_length"]);
    TaskSample sample;
    sample.items = static_cast<std::uint32_t>(n);
    Permutation product = all.front();  // the identity comes first
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t g = draw_below(rng, static_cast<std::int64_t>(all.size()));
      sample.add(kFirstElement + g);
      for (int& image : product) image = all[static_cast<std::size_t>(g)][static_cast<std::size_t>(image)];
    }
    sample.add(kAsk);
    sample.answer({kFirstElement + (std::lower_bound(all.begin(), all.end(), product) - all.begin())});
    sample.pad(sample_tokens(s), 0);
    return sample;
  }

 private:
  static const std::vector<Permutation>& elements(const TaskSettings& s) {
    static const std::vector<Permutation> s3 = permutations(3, false), a5 = permutations(5, true),
                                          s5 = permutations(5, false);
    const std::string& group = s.word("group");
    return group == "s3" ? s3 : group == "a5" ? a5 : s5;
  }
};

constexpr std::int64_t kBins = 256;
constexpr double kLargest = 4;  // bins are equal parts of [-kLargest, kLargest]

std::int64_t bin_of(double value) {
  const double place = (value + kLargest) / (2 * kLargest) * static_cast<double>(kBins);
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(place)), 0, kBins - 1);
}

// Box and Muller's.
double draw_normal(CounterRng& rng) {
  const double radius = std::sqrt(-2 * std::log(1 - rng.uniform()));
  return radius * std::cos(2 * M_PI * rng.uniform());
}

class Regression : public Task {
 public:
  Regression()
      : Task("regression", "points x1 .. xd y of a linear function of the sample's own: every y is scored",
             {{"dimension", "20", "d", 1, 1 << 16}, {"points", "41", "", 1, 1 << 20}}) {}

  std::int64_t vocab_size(const TaskSettings&) const override { return kBins; }
  std::int64_t sample_tokens(const TaskSettings& s) const override { return (s["dimension"] + 1) * s["points"]; }

  TaskSample generate(const TaskSettings& s, CounterRng& rng) const override {
    const std::int64_t d = s["dimension"];
    std::vector<double> w;
    for (std::int64_t i = 0; i < d; ++i) w.push_back(draw_normal(rng));
    TaskSample sample;
    sample.items = static_cast<std::uint32_t>(s["points"]);
    for (std::int64_t point = 0; point < s["points"]; ++point) {
      double y = 0;  // of the bins' centres, so that nothing but y's own rounding is lost
      for (std::int64_t i = 0; i < d; ++i) {
        const std::int64_t bin = bin_of(draw_normal(rng));
        sample.add(bin);
        y += w[static_cast<std::size_t>(i)] * regression_value(bin);
      }
      sample.answer({bin_of(y / std::sqrt(static_cast<double>(d)))});
    }
    return sample;
  }
};

}  // namespace

double regression_value(std::int64_t token) {
  return (static_cast<double>(token) + 0.5) / static_cast<double>(kBins) * 2 * kLargest - kLargest;
}

std::vector<const Task*> algebra_tasks() {
  static const ParityTask parity;
  static const Modular modular;
  static const Group group;
  static const Regression regression;
  return {&parity, &modular, &group, &regression};
}

}  // namespace ttt
