// What a model recalls of what it read a known distance before: a passage stands in real text, and again at its end.
//
//     planted   ... text ... PASSAGE ... text ... PASSAGE      the two begin `distance` tokens apart
//     fresh     ... text ........................ PASSAGE      the same, the text's own tokens in the first's place
//
//     gain(distance) = mean over the last copy's tokens but its first of  -log p(fresh) - -log p(planted)
//
// The passage is a piece of the set from elsewhere, so that neither text leads up to it. A model that does not reach
// back so far has a gain of zero. Intervals: percentile bootstrap over probes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <torch/types.h>

#include "base/json.h"
#include "data/dataset.h"
#include "model/language_model.h"

namespace ttt {

struct RecallOptions {
  std::int64_t context = 2048;            // tokens of a probe, the last passage included
  std::int64_t passage = 32;              // tokens
  std::vector<std::int64_t> distances{};  // empty: default_distances()
  std::int64_t probes = 64;
  std::int64_t batch = 1;  // sequences at once
  std::int64_t piece = 0;  // tokens computed at once, with a carried state; 0: all
  torch::Device device = torch::kCPU;
  std::uint64_t seed = 0;
};

struct RecallPoint {
  std::int64_t distance = 0;
  double planted = 0, fresh = 0;       // mean -log p, nats a token
  double gain = 0, low = 0, high = 0;  // fresh - planted, and its 95 % interval
};

struct RecallTable {
  std::int64_t context = 0, passage = 0, probes = 0;
  std::vector<RecallPoint> points;
};

// Probe number `index`: text whose last tokens are the passage, and the passage. A pure function of its arguments.
struct RecallProbe {
  std::vector<std::int64_t> text, passage;
};
RecallProbe make_recall_probe(const Dataset& data, const RecallOptions& options, std::int64_t index);
// The same text with the passage so far before its copy, too.
std::vector<std::int64_t> planted_text(const RecallProbe& probe, std::int64_t distance);

// From the passage's length on, doubled up to what the context has room for.
std::vector<std::int64_t> default_distances(std::int64_t context, std::int64_t passage);

// Throws UserError where the context is too short for the passage and the distances, or the set for the context and a
// passage from elsewhere.
RecallTable recall_table(LanguageModel& model, const Dataset& data, const RecallOptions& options,
                         const std::function<void(std::int64_t done, std::int64_t all)>& progress = {});

Json to_json(const RecallTable& table);
std::string to_text(const RecallTable& table);

}  // namespace ttt
