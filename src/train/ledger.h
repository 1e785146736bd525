// ledger.jsonl: what two runs must have in common to be the same run, a line a step.
//
//     {"step", "samples": hash of the step's sample ids, "loss", "grad_norm": their 64 bits, "parameters": hash of all
//      parameters after the step, at multiples of train.digest_every and at the last step}    all as 16 hex digits
//     with "deterministic": false where train.deterministic is, on a GPU: then equal runs part by rounding
//
// `ttt diff` compares two of them. Written by MetricsWriter, so that a run that resumes cuts it back to its checkpoint.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/json.h"
#include "data/mixture.h"
#include "model/language_model.h"

namespace ttt {

// Of the samples at these positions of a run's order, a step's over all ranks.
std::uint64_t sample_hash(const MixtureOrder& order, const std::vector<std::int64_t>& positions);
// Of every parameter's name and bytes (xxh3); about 10 GB a second where memory gives that.
std::uint64_t parameter_hash(const LanguageModel& model);

Json ledger_line(std::int64_t step, std::uint64_t samples, double loss, double grad_norm,
                 std::optional<std::uint64_t> parameters);

}  // namespace ttt
