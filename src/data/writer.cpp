#include "data/writer.h"

#include <bit>
#include <cstdio>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "data/dataset.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

static_assert(std::endian::native == std::endian::little, "shards are little endian and written as they lie in memory");

namespace {

std::string numbered(const char* stem, std::size_t index) {
  char name[64];
  std::snprintf(name, sizeof name, "%s-%05zu.bin", stem, index);
  return name;
}

// A file and the hash of what was written.
struct HashedFile {
  explicit HashedFile(const fs::path& path) : writer(path) {}
  // Goes on behind the file's first `keep` bytes.
  HashedFile(const fs::path& path, std::uint64_t keep) : writer(path, keep) {
    const MappedFile content(path);
    hash.update(content.bytes().data(), static_cast<std::size_t>(keep));
  }
  void write(const void* data, std::size_t size) {
    writer.write(data, size);
    hash.update(data, size);
  }
  FileWriter writer;
  Xxh3Stream hash;
};

bool is_shard_file(const std::string& name) {
  for (const std::string_view stem : {"tokens-", "documents-", "scored-", "items-"}) {
    if (!name.starts_with(stem) || !name.ends_with(".bin")) continue;
    const std::string_view number = std::string_view(name).substr(stem.size(), name.size() - stem.size() - 4);
    return number.size() >= 5 && number.find_first_not_of("0123456789") == number.npos;
  }
  return false;
}

// Of a data set, but for its manifest.
bool is_set_file(const std::string& name) {
  return is_shard_file(name) || name == "tokenizer.model";
}

void rename_file(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) fail("cannot rename '", from.string(), "' to '", to.string(), "': ", error.message());
}

}  // namespace

bool is_file_of_dataset(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  const fs::path directory = path.parent_path();
  if (is_shard_file(name)) return true;
  if (name != "tokenizer.model" && name != "manifest.json") return false;
  return fs::exists(directory / numbered("tokens", 0)) || fs::exists(directory / numbered("documents", 0));
}

void check_output_directory(const std::filesystem::path& directory, bool force) {
  if (!fs::exists(directory / "manifest.json")) return;
  const bool ours = is_dataset(directory) || fs::exists(directory / numbered("tokens", 0));
  if (!ours) {
    user_error("'", directory.string(), "' holds a manifest.json of something else; choose another output folder");
  }
  if (!force) {
    user_error("'", directory.string(),
               "' already holds a data set; choose another output folder, or pass --force to replace it");
  }
}

void place_dataset(const std::filesystem::path& staging, const std::filesystem::path& directory) {
  if (!fs::exists(staging / "manifest.json")) return;  // it was the last to be moved
  const DatasetManifest manifest = read_manifest(staging);
  make_writable_directory(directory);
  // From here on the folder holds no data set until the manifest is in place. Files of a replaced set that the new one
  // does not have go.
  fs::remove(directory / "manifest.json");
  std::set<std::string> names;
  if (manifest.tokenizer_xxh3) names.insert("tokenizer.model");
  for (const DatasetManifest::Shard& shard : manifest.shards) {
    names.insert({shard.tokens_file, shard.documents_file});
    if (manifest.has_scores()) names.insert({shard.scored_file, shard.items_file});
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (is_set_file(name) && !names.contains(name)) fs::remove(entry.path());
  }
  for (const std::string& name : names) {
    if (fs::exists(staging / name)) rename_file(staging / name, directory / name);
  }
  sync_path(directory);
  rename_file(staging / "manifest.json", directory / "manifest.json");
  sync_path(directory);
}

void remove_dataset(const std::filesystem::path& directory) {
  if (!is_dataset(directory)) return;
  fs::remove(directory / "manifest.json");
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (is_set_file(entry.path().filename().string())) fs::remove(entry.path());
  }
  std::error_code not_empty;
  fs::remove(directory, not_empty);
}

struct DatasetWriter::Impl {
  explicit Impl(const DatasetWriterOptions& o) : options(o), owns_staging(o.staging.empty()) {
    TTT_CHECK(options.vocab_size > 0 && options.shard_tokens > 0, options.vocab_size, " ", options.shard_tokens);
    if (owns_staging) {
      made_directory = !fs::exists(options.directory);
      options.staging = options.directory / ".staging";
    }
  }
  ~Impl() {
    tokens.reset();
    documents.reset();
    scored.reset();
    items.reset();
    if (!owns_staging) return;
    std::error_code ignored;
    fs::remove_all(options.staging, ignored);
    if (made_directory) fs::remove(options.directory, ignored);  // unless a set is in it
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  DatasetWriterOptions options;
  bool owns_staging, made_directory = false;
  DatasetManifest manifest;
  std::unique_ptr<HashedFile> tokens, documents, scored, items;  // of the open shard
  bool written_since_sync = false;
  std::string encoded;  // tokens in the shard's type

  std::unique_ptr<HashedFile> create(const std::string& name) const {
    return std::make_unique<HashedFile>(options.staging / name);
  }

  void open_shard() {
    DatasetManifest::Shard shard;
    shard.tokens_file = numbered("tokens", manifest.shards.size());
    shard.documents_file = numbered("documents", manifest.shards.size());
    tokens = create(shard.tokens_file);
    documents = create(shard.documents_file);
    if (options.scores) {
      shard.scored_file = numbered("scored", manifest.shards.size());
      shard.items_file = numbered("items", manifest.shards.size());
      scored = create(shard.scored_file);
      items = create(shard.items_file);
    }
    manifest.shards.push_back(shard);
  }

  void close_shard() {
    if (!tokens) return;
    tokens->writer.finish();
    documents->writer.finish();
    manifest.shards.back().tokens_xxh3 = tokens->hash.digest();
    manifest.shards.back().documents_xxh3 = documents->hash.digest();
    tokens.reset();
    documents.reset();
    if (!options.scores) return;
    scored->writer.finish();
    items->writer.finish();
    manifest.shards.back().scored_xxh3 = scored->hash.digest();
    manifest.shards.back().items_xxh3 = items->hash.digest();
    scored.reset();
    items.reset();
  }

  // The files of the last shard as they were when it was open.
  void reopen_shard() {
    const DatasetManifest::Shard& shard = manifest.shards.back();
    const auto bytes = static_cast<std::uint64_t>(shard.num_tokens * manifest.bytes_per_token());
    tokens = std::make_unique<HashedFile>(options.staging / shard.tokens_file, bytes);
    documents = std::make_unique<HashedFile>(options.staging / shard.documents_file,
                                             static_cast<std::uint64_t>(shard.num_documents) * sizeof(std::uint64_t));
  }

  // The open shard, with room for at least one token.
  DatasetManifest::Shard& shard() {
    if (tokens && manifest.shards.back().num_tokens == options.shard_tokens) close_shard();
    if (!tokens) open_shard();
    return manifest.shards.back();
  }

  template <class Word>
  void write_words(std::span<const std::int32_t> ids) {
    encoded.resize(ids.size() * sizeof(Word));
    auto* words = reinterpret_cast<Word*>(encoded.data());
    for (std::size_t i = 0; i < ids.size(); ++i) words[i] = static_cast<Word>(ids[i]);
    tokens->write(encoded.data(), encoded.size());
    written_since_sync = true;
  }
};

DatasetWriter::DatasetWriter(const DatasetWriterOptions& options) : impl_(std::make_unique<Impl>(options)) {
  check_output_directory(options.directory, options.force);
  make_writable_directory(impl_->options.staging);
  impl_->manifest.vocab_size = options.vocab_size;
  impl_->manifest.bos_id = options.bos_id;
  impl_->manifest.eos_id = options.eos_id;
  impl_->manifest.domain = options.domain;
  impl_->manifest.task = options.task;
  if (options.scores) impl_->manifest.scored_tokens = 0;
  if (options.tokenizer != nullptr) impl_->manifest.tokenizer_xxh3 = options.tokenizer->hash();
}

DatasetWriter::DatasetWriter(const DatasetWriterOptions& options, const Json& state)
    : impl_(std::make_unique<Impl>(options)) {
  TTT_CHECK(!impl_->owns_staging, "only a staging folder that outlives the writer can be gone on with");
  TTT_CHECK(!options.scores, "a set with scores is written in one go");
  impl_->manifest = manifest_from_json(state.at("manifest"));
  if (state.at("open").get<bool>()) impl_->reopen_shard();
}

DatasetWriter::~DatasetWriter() = default;

void DatasetWriter::begin_document(std::uint32_t items) {
  DatasetManifest::Shard& shard = impl_->shard();
  const auto offset = static_cast<std::uint64_t>(impl_->manifest.num_tokens);
  impl_->documents->write(&offset, sizeof offset);
  if (impl_->items) impl_->items->write(&items, sizeof items);
  ++shard.num_documents;
  ++impl_->manifest.num_documents;
}

void DatasetWriter::append(std::span<const std::int32_t> tokens, std::span<const std::uint8_t> marks) {
  TTT_CHECK(marks.size() == (impl_->options.scores ? tokens.size() : 0), marks.size(), " marks of ", tokens.size());
  while (!tokens.empty()) {
    DatasetManifest::Shard& shard = impl_->shard();
    const auto room = static_cast<std::size_t>(impl_->options.shard_tokens - shard.num_tokens);
    const std::span<const std::int32_t> part = tokens.first(std::min(room, tokens.size()));
    for (const std::int32_t id : part) {
      TTT_CHECK(id >= 0 && id < impl_->options.vocab_size, "token ", id, " of ", impl_->options.vocab_size);
    }
    if (impl_->manifest.bytes_per_token() == 2) {
      impl_->write_words<std::uint16_t>(part);
    } else {
      impl_->write_words<std::uint32_t>(part);
    }
    shard.num_tokens += static_cast<std::int64_t>(part.size());
    impl_->manifest.num_tokens += static_cast<std::int64_t>(part.size());
    tokens = tokens.subspan(part.size());
    if (!impl_->scored) continue;
    impl_->scored->write(marks.data(), part.size());
    for (const std::uint8_t mark : marks.first(part.size())) *impl_->manifest.scored_tokens += mark & kScored;
    marks = marks.subspan(part.size());
  }
}

void DatasetWriter::add_source(const std::string& path, std::int64_t bytes) {
  std::vector<DatasetManifest::Source>& sources = impl_->manifest.sources;
  if (sources.empty() || sources.back().path != path) sources.push_back({path, 0});
  sources.back().bytes += bytes;
}
void DatasetWriter::add_text_bytes(std::int64_t bytes) {
  impl_->manifest.text_bytes += bytes;
}
const DatasetManifest& DatasetWriter::manifest() const {
  return impl_->manifest;
}

Json DatasetWriter::sync() {
  if (impl_->tokens && impl_->written_since_sync) {
    impl_->tokens->writer.sync();
    impl_->documents->writer.sync();
    sync_path(impl_->options.staging);
  }
  impl_->written_since_sync = false;
  return {{"manifest", to_json(impl_->manifest)}, {"open", impl_->tokens != nullptr}};
}

void DatasetWriter::finish() {
  Impl& impl = *impl_;
  impl.close_shard();
  if (impl.options.tokenizer != nullptr) {
    const std::unique_ptr<HashedFile> copy = impl.create("tokenizer.model");
    copy->write(impl.options.tokenizer->bytes().data(), impl.options.tokenizer->bytes().size());
    copy->writer.finish();
  }
  write_manifest(impl.options.staging, impl.manifest);
}

void DatasetWriter::commit() {
  finish();
  place_dataset(impl_->options.staging, impl_->options.directory);
}

}  // namespace ttt
