// Reading a data set. Shapes: B batch, T time.
#include "data/dataset.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ne.h>
#include <ATen/ops/ones_like.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/rng.h"
#include "data/manifest.h"

namespace ttt {
namespace {

constexpr const char* kRemedy =
    "; copy the file again from where the set was made, or prepare the set again with --force";

// Why the file cannot be what the manifest promises, or "".
std::string size_problem(const fs::path& path, std::uint64_t expected) {
  std::error_code error;
  const std::uint64_t size = fs::file_size(path, error);
  if (error) return cat("'", path.string(), "' is missing or unreadable (", error.message(), ")", kRemedy);
  if (size == expected) return "";
  return cat("'", path.string(), "' has ", size, " bytes instead of ", expected,
             size < expected ? ": it is truncated" : ": it is damaged", kRemedy);
}

std::string hash_problem(const fs::path& path, std::uint64_t expected) {
  const std::uint64_t hash = xxh3_file(path);
  if (hash == expected) return "";
  return cat("'", path.string(), "' is damaged: its xxh3 is ", hex64(hash), " instead of ", hex64(expected), kRemedy);
}

// A shard's words as the wider integers of a batch. Returns the largest.
template <class Word, class Out>
std::uint32_t widen(const std::byte* data, std::int64_t begin, std::int64_t count, Out* out) {
  const Word* words = reinterpret_cast<const Word*>(data) + begin;
  Word largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<Out>(words[i]);
    largest = std::max(largest, words[i]);
  }
  return largest;
}

}  // namespace

struct Dataset::Impl {
  struct Shard {
    MappedFile file;
    std::int64_t begin = 0;  // its first token's place in the set
    std::int64_t count = 0;
    MappedFile scored, items;  // where the set has them
    std::int64_t first_document = 0, num_documents = 0;
  };

  fs::path directory;
  DatasetManifest manifest;
  std::vector<Shard> shards;

  fs::path path_of(const std::string& name) const { return directory / name; }

  // A sentence for each file whose size is not what the manifest says.
  std::vector<std::string> size_problems() const {
    std::vector<std::string> problems;
    const auto check = [&](const std::string& name, std::int64_t size) {
      const std::string problem = size_problem(path_of(name), static_cast<std::uint64_t>(size));
      if (!problem.empty()) problems.push_back(problem);
    };
    for (const DatasetManifest::Shard& shard : manifest.shards) {
      check(shard.tokens_file, shard.num_tokens * manifest.bytes_per_token());
      check(shard.documents_file, shard.num_documents * 8);
      if (!manifest.has_scores()) continue;
      check(shard.scored_file, shard.num_tokens);
      check(shard.items_file, shard.num_documents * 4);
    }
    return problems;
  }

  // f(shard, first token within it, count) of each shard's part of tokens begin .. begin+count-1.
  template <class Function>
  void for_each_part(std::int64_t begin, std::int64_t count, const Function& f) const {
    auto shard = std::upper_bound(shards.begin(), shards.end(), begin,
                                  [](std::int64_t place, const Shard& candidate) { return place < candidate.begin; });
    for (--shard; count > 0; ++shard) {
      const std::int64_t local = begin - shard->begin;
      const std::int64_t part = std::min(count, shard->count - local);
      f(*shard, local, part);
      begin += part;
      count -= part;
    }
  }

  template <class Out>
  void copy(std::int64_t begin, std::int64_t count, Out* out) const {
    for_each_part(begin, count, [&](const Shard& shard, std::int64_t local, std::int64_t part) {
      const std::byte* data = shard.file.bytes().data();
      const std::uint32_t largest = manifest.bytes_per_token() == 2 ? widen<std::uint16_t>(data, local, part, out)
                                                                    : widen<std::uint32_t>(data, local, part, out);
      if (largest >= manifest.vocab_size) report_foreign_token(shard, local, part);
      out += part;
    });
  }

  void copy_marks(std::int64_t begin, std::int64_t count, std::uint8_t* out) const {
    for_each_part(begin, count, [&](const Shard& shard, std::int64_t local, std::int64_t part) {
      std::memcpy(out, shard.scored.bytes().data() + local, static_cast<std::size_t>(part));
      out += part;
    });
  }

  [[noreturn]] void report_foreign_token(const Shard& shard, std::int64_t local, std::int64_t count) const {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(count));
    const std::byte* data = shard.file.bytes().data();
    manifest.bytes_per_token() == 2 ? widen<std::uint16_t>(data, local, count, ids.data())
                                    : widen<std::uint32_t>(data, local, count, ids.data());
    const auto bad = std::find_if(ids.begin(), ids.end(), [&](std::int64_t id) { return id >= manifest.vocab_size; });
    const auto index = static_cast<std::size_t>(&shard - shards.data());
    user_error("'", path_of(manifest.shards[index].tokens_file).string(), "' is damaged: token ",
               local + (bad - ids.begin()), " is ", *bad, ", outside the set's vocabulary of ", manifest.vocab_size,
               kRemedy);
  }
};

Dataset::Dataset(const std::filesystem::path& directory) : impl_(std::make_unique<Impl>()) {
  impl_->directory = directory;
  impl_->manifest = read_manifest(directory);
  const std::vector<std::string> problems = impl_->size_problems();
  if (!problems.empty()) throw UserError(problems.front());
  if (impl_->manifest.tokenizer_xxh3 && !fs::exists(directory / "tokenizer.model")) {
    user_error("'", (directory / "tokenizer.model").string(), "' is missing", kRemedy);
  }
  std::int64_t begin = 0, documents = 0;
  for (const DatasetManifest::Shard& shard : impl_->manifest.shards) {
    Impl::Shard& opened = impl_->shards.emplace_back();
    opened.file = MappedFile(impl_->path_of(shard.tokens_file));
    opened.begin = begin, opened.count = shard.num_tokens;
    opened.first_document = documents, opened.num_documents = shard.num_documents;
    if (impl_->manifest.has_scores()) {
      opened.scored = MappedFile(impl_->path_of(shard.scored_file));
      opened.items = MappedFile(impl_->path_of(shard.items_file));
    }
    begin += shard.num_tokens;
    documents += shard.num_documents;
  }
}

Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;

std::int64_t Dataset::num_tokens() const {
  return impl_->manifest.num_tokens;
}
std::int64_t Dataset::num_documents() const {
  return impl_->manifest.num_documents;
}
std::int64_t Dataset::vocab_size() const {
  return impl_->manifest.vocab_size;
}
std::optional<std::int32_t> Dataset::bos_id() const {
  return impl_->manifest.bos_id;
}
std::optional<std::int32_t> Dataset::eos_id() const {
  return impl_->manifest.eos_id;
}
const std::filesystem::path& Dataset::directory() const {
  return impl_->directory;
}

std::string Dataset::tokenizer_hash() const {
  return impl_->manifest.tokenizer_xxh3 ? hex64(*impl_->manifest.tokenizer_xxh3) : "";
}

std::filesystem::path Dataset::tokenizer_path() const {
  return impl_->manifest.tokenizer_xxh3 ? impl_->directory / "tokenizer.model" : fs::path();
}

std::string Dataset::fingerprint() const {
  std::string identity = cat(impl_->manifest.dtype(), " ", impl_->manifest.num_tokens);
  for (const DatasetManifest::Shard& shard : impl_->manifest.shards) identity += " " + hex64(shard.tokens_xxh3);
  if (has_scores()) {  // another set than the same tokens without them
    identity += " scored";
    for (const DatasetManifest::Shard& shard : impl_->manifest.shards) identity += " " + hex64(shard.scored_xxh3);
  }
  return hex64(xxh3(identity));
}

std::int64_t Dataset::num_samples(std::int64_t context) const {
  TTT_CHECK(context > 0, "context ", context);
  return std::max<std::int64_t>(num_tokens() - 1, 0) / context;
}

Batch Dataset::batch(const std::vector<std::int64_t>& indices, std::int64_t context) const {
  const std::int64_t samples = num_samples(context);
  std::vector<std::int64_t> begins;
  for (const std::int64_t index : indices) {
    TTT_CHECK(index >= 0 && index < samples, "sample ", index, " of ", samples);
    begins.push_back(index * context);
  }
  return windows(begins, context);
}

Batch Dataset::windows(const std::vector<std::int64_t>& begins, std::int64_t length) const {
  const auto rows = static_cast<std::int64_t>(begins.size());
  Batch batch{at::empty({rows, length}, at::kLong), at::empty({rows, length}, at::kLong), {}};
  auto* inputs = batch.inputs_BT.mutable_data_ptr<std::int64_t>();
  auto* targets = batch.targets_BT.mutable_data_ptr<std::int64_t>();
  std::vector<std::int64_t> window(static_cast<std::size_t>(length) + 1);
  for (const std::int64_t begin : begins) {
    TTT_CHECK(begin >= 0 && length > 0 && begin + length < num_tokens(), begin, "+", length, " of ", num_tokens());
    impl_->copy(begin, length + 1, window.data());
    inputs = std::copy(window.begin(), window.end() - 1, inputs);
    targets = std::copy(window.begin() + 1, window.end(), targets);
  }
  if (!has_scores()) return batch;
  batch.scored_BT = at::empty({rows, length}, at::kBool);
  bool* scored = batch.scored_BT.mutable_data_ptr<bool>();
  for (const std::int64_t begin : begins) {
    for (const std::uint8_t mark : marks(begin + 1, length)) *scored++ = (mark & kScored) != 0;
  }
  return batch;
}

at::Tensor scored_targets(const Batch& batch, std::optional<std::int32_t> bos_id) {
  if (batch.scored_BT.defined()) return batch.scored_BT;
  return bos_id ? batch.targets_BT.ne(*bos_id) : at::ones_like(batch.targets_BT, at::kBool);
}

const Json& Dataset::task() const {
  return impl_->manifest.task;
}
bool Dataset::has_scores() const {
  return impl_->manifest.has_scores();
}
std::int64_t Dataset::scored_tokens() const {
  return impl_->manifest.scored_tokens.value_or(0);
}

std::vector<std::uint8_t> Dataset::marks(std::int64_t begin, std::int64_t count) const {
  TTT_CHECK(has_scores() && begin >= 0 && count >= 0 && begin + count <= num_tokens(), begin, "+", count, " of ",
            num_tokens());
  std::vector<std::uint8_t> marks(static_cast<std::size_t>(count));
  impl_->copy_marks(begin, count, marks.data());
  return marks;
}

std::optional<std::int64_t> Dataset::items(std::int64_t document) const {
  for (const Impl::Shard& shard : impl_->shards) {
    const std::int64_t local = document - shard.first_document;
    if (local < 0 || local >= shard.num_documents || !has_scores()) continue;
    std::uint32_t items = 0;
    std::memcpy(&items, shard.items.bytes().data() + local * 4, sizeof items);
    return items > 0 ? std::optional<std::int64_t>(items) : std::nullopt;
  }
  return std::nullopt;
}

std::vector<std::int32_t> Dataset::tokens(std::int64_t begin, std::int64_t count) const {
  TTT_CHECK(begin >= 0 && count >= 0 && begin + count <= num_tokens(), begin, "+", count, " of ", num_tokens());
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  impl_->copy(begin, count, ids.data());
  return ids;
}

std::vector<std::string> Dataset::verify() const {
  std::vector<std::string> problems = impl_->size_problems();
  const auto check = [&](const std::string& name, std::uint64_t expected) {
    const std::string problem = hash_problem(impl_->path_of(name), expected);
    if (!problem.empty()) problems.push_back(problem);
  };
  if (!problems.empty()) return problems;
  for (const DatasetManifest::Shard& shard : impl_->manifest.shards) {
    check(shard.tokens_file, shard.tokens_xxh3);
    check(shard.documents_file, shard.documents_xxh3);
    if (!has_scores()) continue;
    check(shard.scored_file, shard.scored_xxh3);
    check(shard.items_file, shard.items_xxh3);
  }
  if (impl_->manifest.tokenizer_xxh3) check("tokenizer.model", *impl_->manifest.tokenizer_xxh3);
  return problems;
}

SampleOrder::SampleOrder(std::int64_t num_samples, bool shuffled, std::uint64_t seed)
    : num_samples_(num_samples), shuffled_(shuffled), seed_(seed) {
  TTT_CHECK(num_samples > 0, "num_samples ", num_samples);
}

std::int64_t SampleOrder::operator()(std::int64_t n) const {
  TTT_CHECK(n >= 0, "n ", n);
  const std::int64_t index = n % num_samples_;
  if (!shuffled_) return index;
  const std::int64_t epoch = n / num_samples_;
  const KeyedPermutation order(static_cast<std::uint64_t>(num_samples_),
                               stream_seed(seed_, cat("data order, epoch ", epoch)));
  return static_cast<std::int64_t>(order(static_cast<std::uint64_t>(index)));
}

}  // namespace ttt
