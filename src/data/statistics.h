// What the documents of a data set look like: lengths, BOS and EOS, duplicates. Reads the tokens in blocks; its memory
// is 24 bytes a document.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "data/dataset.h"

namespace ttt {

struct DatasetStatistics {
  // Lengths in tokens, BOS and EOS included.
  double mean_length = 0;
  std::int64_t shortest = 0, longest = 0;
  std::int64_t percentile_10 = 0, median = 0, percentile_90 = 0;

  std::int64_t bos_tokens = 0, eos_tokens = 0;  // of the declared ids, anywhere
  // Documents that do not begin with BOS, or do not end with EOS, where these are declared.
  std::int64_t without_bos = 0, without_eos = 0;

  std::int64_t duplicates = 0;        // documents whose tokens an earlier one has, all of them
  std::int64_t duplicate_tokens = 0;  // in these
  std::optional<std::pair<std::int64_t, std::int64_t>> example;  // the first one that was met, and its twin before it
};

// Token offsets at which documents begin, and the number of tokens at the end. Throws UserError when the files do not
// hold what the manifest says.
std::vector<std::int64_t> document_offsets(const std::filesystem::path& directory);

// `offsets`: of document_offsets.
DatasetStatistics dataset_statistics(const Dataset& data, const std::vector<std::int64_t>& offsets);

}  // namespace ttt
