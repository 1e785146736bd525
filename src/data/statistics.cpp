#include "data/statistics.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "data/manifest.h"

namespace ttt {
namespace {

constexpr std::int64_t kStatisticsBlock = 1 << 20;  // tokens at once

// XXH3 of a document's ids.
std::uint64_t hash_document(const Dataset& data, std::int64_t begin, std::int64_t end) {
  Xxh3Stream hash;
  for (; begin < end; begin += kStatisticsBlock) {
    const std::vector<std::int32_t> ids = data.tokens(begin, std::min(kStatisticsBlock, end - begin));
    hash.update(ids.data(), ids.size() * sizeof ids[0]);
  }
  return hash.digest();
}

void measure_lengths(const std::vector<std::int64_t>& offsets, DatasetStatistics& statistics) {
  std::vector<std::int64_t> lengths;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) lengths.push_back(offsets[i + 1] - offsets[i]);
  std::sort(lengths.begin(), lengths.end());
  const auto percentile = [&](std::size_t percent) { return lengths[(lengths.size() - 1) * percent / 100]; };
  statistics.mean_length = static_cast<double>(offsets.back() - offsets.front()) / static_cast<double>(lengths.size());
  statistics.shortest = lengths.front();
  statistics.percentile_10 = percentile(10);
  statistics.median = percentile(50);
  statistics.percentile_90 = percentile(90);
  statistics.longest = lengths.back();
}

void count_specials(const Dataset& data, const std::vector<std::int64_t>& offsets, DatasetStatistics& statistics) {
  for (std::int64_t begin = 0; begin < data.num_tokens(); begin += kStatisticsBlock) {
    for (const std::int32_t id : data.tokens(begin, std::min(kStatisticsBlock, data.num_tokens() - begin))) {
      statistics.bos_tokens += id == data.bos_id();
      statistics.eos_tokens += id == data.eos_id();
    }
  }
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    if (offsets[i] == offsets[i + 1]) continue;
    statistics.without_bos += data.bos_id() && data.tokens(offsets[i], 1)[0] != *data.bos_id();
    statistics.without_eos += data.eos_id() && data.tokens(offsets[i + 1] - 1, 1)[0] != *data.eos_id();
  }
}

void find_duplicates(const Dataset& data, const std::vector<std::int64_t>& offsets, DatasetStatistics& statistics) {
  const std::size_t documents = offsets.size() - 1;
  std::vector<std::uint64_t> hashes(documents);
  for (std::size_t i = 0; i < documents; ++i) hashes[i] = hash_document(data, offsets[i], offsets[i + 1]);
  // By hash, then by place: all but the first of equal ones are duplicates.
  std::vector<std::size_t> order(documents);
  for (std::size_t i = 0; i < documents; ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return hashes[a] != hashes[b] ? hashes[a] < hashes[b] : a < b; });
  std::size_t first = 0;
  for (std::size_t i = 1; i < documents; ++i) {
    if (hashes[order[i]] != hashes[order[first]]) {
      first = i;
      continue;
    }
    ++statistics.duplicates;
    statistics.duplicate_tokens += offsets[order[i] + 1] - offsets[order[i]];
    const std::pair<std::int64_t, std::int64_t> pair{order[i], order[first]};
    if (!statistics.example || pair.first < statistics.example->first) statistics.example = pair;
  }
}

}  // namespace

std::vector<std::int64_t> document_offsets(const std::filesystem::path& directory) {
  const DatasetManifest manifest = read_manifest(directory);
  std::vector<std::int64_t> offsets;
  offsets.reserve(static_cast<std::size_t>(manifest.num_documents) + 1);
  for (const DatasetManifest::Shard& shard : manifest.shards) {
    const MappedFile file(directory / shard.documents_file);
    if (file.bytes().size() != static_cast<std::size_t>(shard.num_documents) * 8) {
      user_error("'", (directory / shard.documents_file).string(),
                 "' has another size than the manifest says; prepare ", "the set again");
    }
    for (std::size_t i = 0; i < file.bytes().size(); i += 8) {
      std::int64_t offset;
      std::memcpy(&offset, file.bytes().data() + i, sizeof offset);
      const bool in_order = offset >= (offsets.empty() ? 0 : offsets.back()) && offset <= manifest.num_tokens;
      if (!in_order) {
        user_error("'", (directory / shard.documents_file).string(), "' is damaged: document ", offsets.size(),
                   " begins at token ", offset, ", which is out of order; prepare the set again");
      }
      offsets.push_back(offset);
    }
  }
  offsets.push_back(manifest.num_tokens);
  return offsets;
}

DatasetStatistics dataset_statistics(const Dataset& data, const std::vector<std::int64_t>& offsets) {
  DatasetStatistics statistics;
  if (offsets.size() < 2) return statistics;
  measure_lengths(offsets, statistics);
  count_specials(data, offsets, statistics);
  find_duplicates(data, offsets, statistics);
  return statistics;
}

}  // namespace ttt
