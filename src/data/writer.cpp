#include "data/writer.h"

#include <bit>
#include <cstdio>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

static_assert(std::endian::native == std::endian::little, "shards are little endian and written as they lie in memory");

namespace {

std::string numbered(const char* stem, std::size_t index) {
  char name[64];
  std::snprintf(name, sizeof name, "%s-%05zu.bin", stem, index);
  return name;
}

// A file under its temporary name, and the hash of what was written.
struct HashedFile {
  explicit HashedFile(const fs::path& path) : writer(path) {}
  void write(const void* data, std::size_t size) {
    writer.write(data, size);
    hash.update(data, size);
  }
  FileWriter writer;
  Xxh3Stream hash;
};

void rename_file(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) fail("cannot rename '", from.string(), "' to '", to.string(), "': ", error.message());
}

}  // namespace

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

struct DatasetWriter::Impl {
  explicit Impl(const DatasetWriterOptions& o) : options(o) {}

  DatasetWriterOptions options;
  DatasetManifest manifest;
  std::unique_ptr<HashedFile> tokens, documents;  // of the open shard
  std::vector<fs::path> temporaries;
  std::string encoded;  // tokens in the shard's type

  fs::path final_path(const std::string& name) const { return options.directory / name; }
  fs::path temporary_path(const std::string& name) const { return options.directory / (name + ".tmp"); }

  std::unique_ptr<HashedFile> create(const std::string& name) {
    temporaries.push_back(temporary_path(name));
    return std::make_unique<HashedFile>(temporaries.back());
  }

  void open_shard() {
    DatasetManifest::Shard shard;
    shard.tokens_file = numbered("tokens", manifest.shards.size());
    shard.documents_file = numbered("documents", manifest.shards.size());
    tokens = create(shard.tokens_file);
    documents = create(shard.documents_file);
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
  }
};

DatasetWriter::DatasetWriter(const DatasetWriterOptions& options) : impl_(std::make_unique<Impl>(options)) {
  TTT_CHECK(options.vocab_size > 0 && options.shard_tokens > 0, options.vocab_size, " ", options.shard_tokens);
  check_output_directory(options.directory, options.force);
  make_writable_directory(options.directory);
  impl_->manifest.vocab_size = options.vocab_size;
  impl_->manifest.bos_id = options.bos_id;
  impl_->manifest.eos_id = options.eos_id;
}

DatasetWriter::~DatasetWriter() {
  impl_->tokens.reset();
  impl_->documents.reset();
  std::error_code ignored;
  for (const fs::path& path : impl_->temporaries) fs::remove(path, ignored);
}

void DatasetWriter::begin_document() {
  DatasetManifest::Shard& shard = impl_->shard();
  const auto offset = static_cast<std::uint64_t>(impl_->manifest.num_tokens);
  impl_->documents->write(&offset, sizeof offset);
  ++shard.num_documents;
  ++impl_->manifest.num_documents;
}

void DatasetWriter::append(std::span<const std::int32_t> tokens) {
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
  }
}

void DatasetWriter::add_source(const std::string& path, std::int64_t bytes) {
  impl_->manifest.sources.push_back({path, bytes});
}
void DatasetWriter::add_text_bytes(std::int64_t bytes) {
  impl_->manifest.text_bytes += bytes;
}
std::int64_t DatasetWriter::num_tokens() const {
  return impl_->manifest.num_tokens;
}

void DatasetWriter::commit() {
  Impl& impl = *impl_;
  impl.close_shard();
  const fs::path tokenizer_path = impl.final_path("tokenizer.model");
  if (impl.options.tokenizer != nullptr) {
    impl.manifest.tokenizer_xxh3 = impl.options.tokenizer->hash();
    const std::unique_ptr<HashedFile> copy = impl.create("tokenizer.model");
    copy->write(impl.options.tokenizer->bytes().data(), impl.options.tokenizer->bytes().size());
    copy->writer.finish();
  }
  // From here on the folder holds no data set until the manifest is in place. Files of a replaced set that the new one
  // does not have go.
  fs::remove(impl.final_path("manifest.json"));
  for (const fs::directory_entry& entry : fs::directory_iterator(impl.options.directory)) {
    const std::string name = entry.path().filename().string();
    const bool ours = (name.starts_with("tokens-") || name.starts_with("documents-")) && name.ends_with(".bin");
    if (ours || name == "tokenizer.model") fs::remove(entry.path());
  }
  for (const fs::path& path : impl.temporaries) rename_file(path, fs::path(path).replace_extension());
  impl.temporaries.clear();
  sync_path(impl.options.directory);
  write_manifest(impl.options.directory, impl.manifest);
}

}  // namespace ttt
