#include "data/mixture.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/rng.h"
#include "data/domains.h"

namespace ttt {
namespace {

using Wide = __int128;

constexpr std::uint64_t kOne = std::uint64_t{1} << 40;  // the interval [0, 1)
constexpr std::uint64_t kStep = 679535556991;           // 2^40 * 0.6180339887..., odd

// Sum over i < n of floor((a i + b) / m), by Euclid's algorithm.
Wide floor_sum(Wide n, Wide m, Wide a, Wide b) {
  Wide sum = 0;
  while (n > 0) {
    sum += (a / m) * (n * (n - 1) / 2) + (b / m) * n;
    a %= m;
    b %= m;
    const Wide last = a * n + b;
    if (last < m) break;
    n = last / m;
    b = last % m;
    std::swap(m, a);
  }
  return sum;
}

// The last folder of a path that says something: "web" for web/train.
std::string folder_name(const fs::path& path) {
  fs::path at = fs::absolute(path).lexically_normal();
  if (!at.has_filename()) at = at.parent_path();
  const bool split = at.filename() == "train" || at.filename() == "valid";
  return split && at.parent_path().has_filename() ? at.parent_path().filename().string() : at.filename().string();
}

}  // namespace

MixtureOrder::MixtureOrder(const std::vector<Source>& sources, bool shuffled, std::uint64_t seed)
    : offset_(stream_seed(seed, "mixture") % kOne) {
  double total = 0, below = 0;
  for (const Source& source : sources) total += source.weight;
  TTT_CHECK(!sources.empty() && total > 0 && std::isfinite(total), sources.size(), " sources of weight ", total);
  for (const Source& source : sources) {
    below += source.weight;
    const bool last = bounds_.size() + 1 == sources.size();
    const std::uint64_t begin = bounds_.empty() ? 0 : bounds_.back();
    const std::uint64_t end = last ? kOne : static_cast<std::uint64_t>(below / total * static_cast<double>(kOne));
    if (source.weight > 0 && source.weight / total * static_cast<double>(kOne) < 2) {
      user_error("the source '", source.name, "' has a share of ", source.weight / total,
                 ", too small to be drawn; give it a larger weight, or leave it out");
    }
    bounds_.push_back(source.weight > 0 ? std::clamp(end, begin, kOne) : begin);
    const std::uint64_t own_seed = sources.size() == 1 ? seed : stream_seed(seed, cat("source ", orders_.size()));
    orders_.emplace_back(source.num_samples, shuffled, own_seed);
  }
  // Rounding, and sources of weight 0 at the end, leave the rest to the last one that has a weight.
  for (std::size_t i = sources.size(); i-- > 0;) {
    bounds_[i] = kOne;
    if (sources[i].weight > 0) break;
  }
}

std::int64_t MixtureOrder::count_below(std::uint64_t bound, std::int64_t n) const {
  // (a i + b) mod m < t  <=>  floor((a i + b) / m) - floor((a i + b - t) / m) = 1
  const Wide all = floor_sum(n, kOne, kStep, offset_);
  const Wide rest = floor_sum(n, kOne, kStep, static_cast<Wide>(offset_) + kOne - bound) - n;
  return static_cast<std::int64_t>(all - rest);
}

std::int64_t MixtureOrder::count(std::size_t source, std::int64_t n) const {
  TTT_CHECK(source < bounds_.size() && n >= 0, "source ", source, ", n ", n);
  return count_below(bounds_[source], n) - (source == 0 ? 0 : count_below(bounds_[source - 1], n));
}

MixtureOrder::Sample MixtureOrder::operator()(std::int64_t n) const {
  TTT_CHECK(n >= 0, "n ", n);
  const auto point = static_cast<std::uint64_t>((static_cast<Wide>(n) * kStep + offset_) % kOne);
  const auto owner = std::upper_bound(bounds_.begin(), bounds_.end(), point);
  const auto source = static_cast<std::size_t>(owner - bounds_.begin());
  return {source, orders_[source](count(source, n))};
}

namespace {

// The sets that one entry of a config stands for, with their weights.
void open_source(const std::string& key, const DataSource& source, bool valid, std::vector<MixtureSource>& opened) {
  const fs::path path(source.path);
  if (!has_domains(path)) {
    Dataset data(path);
    const double weight = source.weight < 0 ? static_cast<double>(data.num_tokens()) : source.weight;
    opened.push_back({source.name.empty() ? folder_name(path) : source.name, weight, std::move(data)});
    return;
  }
  const std::size_t first = opened.size();
  double tokens = 0;
  for (const DomainIndex::Domain& domain : read_domains(path).domains) {
    const std::optional<DomainIndex::Set>& set = valid ? domain.valid : domain.train;
    if (!set) continue;
    Dataset data(path / set->path);
    tokens += static_cast<double>(data.num_tokens());
    const std::string name = source.name.empty() ? domain.name : source.name + "/" + domain.name;
    opened.push_back({name, static_cast<double>(data.num_tokens()), std::move(data)});
  }
  if (opened.size() == first) {
    user_error(key, " '", source.path, "' has no ", valid ? "validation" : "training",
               " set in any domain; prepare it with --valid-fraction, or name other sets");
  }
  if (source.weight < 0) return;
  for (std::size_t i = first; i < opened.size(); ++i) opened[i].weight *= source.weight / tokens;
}

std::string id_text(std::optional<std::int32_t> id) {
  return id ? std::to_string(*id) : "none";
}

void check_alike(const std::string& key, const MixtureSource& one, const MixtureSource& other) {
  const auto refuse = [&](const char* what, const auto& ours, const auto& theirs) {
    user_error(key, " mixes sets that do not fit together: '", one.data.directory().string(), "' has ", what, " ", ours,
               " and '", other.data.directory().string(), "' ", theirs, "; prepare both with one tokenizer");
  };
  if (one.data.vocab_size() != other.data.vocab_size()) {
    refuse("a vocabulary of", one.data.vocab_size(), other.data.vocab_size());
  }
  if (one.data.tokenizer_hash() != other.data.tokenizer_hash()) {
    refuse("the tokenizer", one.data.tokenizer_hash(), other.data.tokenizer_hash());
  }
  if (one.data.bos_id() != other.data.bos_id())
    refuse("the BOS id", id_text(one.data.bos_id()), id_text(other.data.bos_id()));
}

}  // namespace

std::vector<MixtureSource> open_sources(const std::string& key, const DataSources& sources, bool valid) {
  std::vector<MixtureSource> opened;
  for (const DataSource& source : sources.list()) open_source(key, source, valid, opened);
  std::set<std::string> names;
  for (const MixtureSource& source : opened) {
    if (!names.insert(source.name).second) {
      user_error(key, " has two sources named '", source.name,
                 "'; give them names of their own: {path: ..., name: ...}");
    }
    check_alike(key, opened.front(), source);
  }
  return opened;
}

Batch mixture_batch(const std::vector<MixtureSource>& sources, const std::vector<MixtureOrder::Sample>& samples,
                    std::int64_t context) {
  std::vector<at::Tensor> inputs, targets, scored;
  const bool any_scores =
      std::any_of(sources.begin(), sources.end(), [](const MixtureSource& source) { return source.data.has_scores(); });
  for (const MixtureOrder::Sample& sample : samples) {
    const Dataset& data = sources[sample.source].data;
    const Batch row = data.batch({sample.index}, context);
    inputs.push_back(row.inputs_BT);
    targets.push_back(row.targets_BT);
    if (any_scores) scored.push_back(scored_targets(row, data.bos_id()));
  }
  return {at::cat(inputs), at::cat(targets), any_scores ? at::cat(scored) : at::Tensor()};
}

std::string mixture_fingerprint(const std::vector<MixtureSource>& sources) {
  if (sources.size() == 1) return sources.front().data.fingerprint();
  std::string identity;
  for (const MixtureSource& source : sources) {
    identity += cat(std::setprecision(17), source.weight, " ", source.data.fingerprint(), "\n");
  }
  return hex64(xxh3(identity));
}

}  // namespace ttt
