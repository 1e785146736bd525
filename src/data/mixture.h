// Several data sets as one stream of samples: which set, and which of its samples, comes n-th.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "config/data_sources.h"
#include "data/dataset.h"

namespace ttt {

// A pure function of (seed, n), found in O(number of sets) time at any n. Set k owns an interval of [0, 1) as long as
// its share; sample n goes to the set in whose interval frac(n * g + offset) lies, where g is the golden ratio's
// fraction and the offset comes from the seed. Such points fill the interval so evenly that after any n samples each
// set has had its share of them to within a few. Within a set, samples come as SampleOrder says: a permutation anew in
// each epoch. One set alone gives SampleOrder(num_samples, shuffled, seed) itself.
class MixtureOrder {
 public:
  struct Source {
    std::string name;
    std::int64_t num_samples = 0;
    double weight = 0;  // relative to the others'
  };
  struct Sample {
    std::size_t source;
    std::int64_t index;
  };

  // Throws UserError naming the source: no samples, a share that is too small to ever be drawn.
  MixtureOrder(const std::vector<Source>& sources, bool shuffled, std::uint64_t seed);
  Sample operator()(std::int64_t n) const;
  // How many of the first n samples come from `source`.
  std::int64_t count(std::size_t source, std::int64_t n) const;

 private:
  std::int64_t count_below(std::uint64_t bound, std::int64_t n) const;  // points below `bound` among the first n

  std::uint64_t offset_ = 0;
  std::vector<std::uint64_t> bounds_;  // ends of the intervals, in units of 2^-40
  std::vector<SampleOrder> orders_;
};

// A named data set with its weight.
struct MixtureSource {
  std::string name;
  double weight = 0;  // relative to the others'
  Dataset data;
};

// Opens what a config names; a folder with domains.json gives its domains' training or validation sets. Without weights
// a set weighs as many tokens as it has; a folder's weight is dealt out over its domains likewise. Throws UserError
// naming `key`: a folder that is no data set, two sources of one name, sets of different vocabularies, tokenizers or
// BOS ids.
std::vector<MixtureSource> open_sources(const std::string& key, const DataSources& sources, bool valid);

// Samples of T tokens and their targets [B,T], row b the sample `samples[b]`.
Batch mixture_batch(const std::vector<MixtureSource>& sources, const std::vector<MixtureOrder::Sample>& samples,
                    std::int64_t context);

// The identity of what a run is trained on: of one set its fingerprint, of several their names, weights and
// fingerprints.
std::string mixture_fingerprint(const std::vector<MixtureSource>& sources);

}  // namespace ttt
