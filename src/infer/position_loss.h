// Loss by position: how well a model predicts after it has read so many tokens.
//
// A target's position is the number of tokens that the model has read before it, from 1: its place in the window, or in
// the document where windows slide or the state is carried on (infer/windows.h), or since the document's beginning
// where the model starts anew there. Buckets are log-spaced, four an octave, and every power of two ends one.
//
//     loss(bucket) = sum of -log p over its scored targets / their number
//     [low, high]  = 2.5 and 97.5 % of that under resampling of documents with replacement (percentile bootstrap)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace ttt {

// Positions from .. to, both included.
struct PositionLoss {
  std::int64_t from = 0, to = 0;
  std::int64_t tokens = 0;             // scored targets; where there is none, the losses are NaN
  std::int64_t units = 0;              // documents or windows that these are of; one alone has no interval: low = high
  double loss = 0, low = 0, high = 0;  // nats a token, low <= loss <= high
  double bits_per_byte = 0;            // NaN without a tokenizer
};

// How the intervals came about.
struct PositionIntervals {
  bool over_documents = false;  // else over windows: the set marks no documents, or only one
  std::int64_t units = 0;       // of these, with scored targets
  std::int64_t resamples = 0;
  std::uint64_t seed = 0;
};

struct PositionLosses {
  std::vector<PositionLoss> positions;  // from 1 on, without gaps
  PositionIntervals intervals;
};

// The last positions of the buckets that cover 1 .. longest.
std::vector<std::int64_t> position_bounds(std::int64_t longest);

// Collects scored targets, in any order of calls.
class PositionSums {
 public:
  // `offsets`: at which documents begin, and the end (data/statistics.h); fewer than two documents: units are windows.
  PositionSums(std::int64_t longest, std::vector<std::int64_t> offsets);

  // The scored target behind input token `place` of the set, in window number `window`; nats: its -log p.
  void add(std::int64_t place, std::int64_t window, std::int64_t position, double nats, std::int64_t bytes);

  // What other processes collected (data()), or what this one did, for those.
  std::string data() const;
  void merge(const std::string& data);

  PositionLosses result(std::uint64_t seed) const;

 private:
  struct Entry {  // consecutive targets of one window, unit and bucket
    std::int64_t unit, bucket, first, tokens, bytes;
    double nats;
  };
  bool over_documents() const { return offsets_.size() > 2; }

  std::vector<std::int64_t> bounds_, offsets_;
  std::vector<Entry> entries_;
  std::size_t document_ = 0;  // of the last call
  std::int64_t window_ = -1;  // likewise
};

Json to_json(const std::vector<PositionLoss>& positions);
Json to_json(const PositionIntervals& intervals);
std::string to_text(const PositionLosses& losses);  // a table

}  // namespace ttt
