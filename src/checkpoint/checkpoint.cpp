// Writing checkpoint folders. The order of writing: every file fsynced, manifest.json (the hash of each), COMPLETE (the
// hash of the manifest), then the rename. So whatever a byte of damage hits, some recorded hash tells.
//
// Several ranks write one folder: rank 0 makes it and posts "begin"; each rank writes its optimizer file and posts that
// file's part of the manifest as "rank/R"; rank 0 writes all else, waits for these, finishes the folder and posts
// "end". What is posted is JSON, {"error": MESSAGE} where it went wrong.
#include "checkpoint/checkpoint.h"

#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "checkpoint/folder.h"

namespace ttt {
namespace {

using namespace checkpoint_folder;

constexpr std::uint64_t kSlackBytes =
    16 << 20;  // room for headers, the small files and the file system's own bookkeeping

std::uint64_t bytes_of(const NamedTensors& tensors) {
  std::uint64_t total = 0;
  for (const auto& [name, tensor] : tensors) total += tensor.nbytes();
  return total;
}

void check_space(const fs::path& directory, const Checkpoint& checkpoint, int ranks) {
  // The other ranks' pieces are about as large as the own ones.
  const std::uint64_t pieces = bytes_of(tensors_of(checkpoint.optimizer_pieces)) * static_cast<std::uint64_t>(ranks);
  const std::uint64_t needed =
      bytes_of(checkpoint.model) + bytes_of(checkpoint.optimizer) + pieces + checkpoint.tokenizer.size() + kSlackBytes;
  const std::uint64_t available = free_disk_bytes(directory);
  if (needed > available) {
    fail("the checkpoint '", directory.string(), "' needs ", needed >> 20, " MiB and its file system has ",
         available >> 20, " MiB free; free some space, or lower checkpoint.keep_last");
  }
}

// A folder is replaced only when it is a checkpoint, whole or not, or empty: anything else may be the user's own.
void check_replaceable(const fs::path& directory) {
  if (!fs::exists(directory)) return;
  if (fs::is_directory(directory) && (fs::is_empty(directory) || fs::exists(directory / kManifestFile))) return;
  user_error("'", directory.string(), "' is there already and is no checkpoint; choose another place for this one");
}

bool is_own_file(const std::string& name) {
  constexpr const char* kOwn[] = {kModelFile,     kModelConfigFile, kStateFile,   kRunConfigFile,
                                  kTokenizerFile, kManifestFile,    kCompleteFile};
  return std::find(std::begin(kOwn), std::end(kOwn), name) != std::end(kOwn) || parse_optimizer_file_name(name);
}

// A save that was killed leaves step_N.tmp with some of the files, the last of them cut short. It is cleared away when
// it holds nothing but files that a save writes.
void check_leftover(const fs::path& temporary) {
  if (!fs::exists(temporary)) return;
  if (fs::is_directory(temporary)) {
    const auto own = [](const fs::directory_entry& entry) { return is_own_file(entry.path().filename().string()); };
    if (std::all_of(fs::directory_iterator(temporary), fs::directory_iterator(), own)) return;
  }
  user_error("'", temporary.string(), "' is in the way of a checkpoint and holds something else; move it away");
}

void write_text(const fs::path& path, const std::string& text) {
  FileWriter writer(path);
  writer.write(text.data(), text.size());
  writer.finish();
}

// Puts `temporary` in the place of `directory`. Where the file system can swap two folders in one act, a reader sees
// the old or the new one; elsewhere (NFS) there is a moment with neither, in which both lie whole beside it.
void put_in_place(const fs::path& temporary, const fs::path& directory) {
  if (!fs::exists(directory)) {
    rename_path(temporary, directory);
  } else if (renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, directory.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(temporary);
  } else {
    const fs::path replaced = directory.string() + ".replaced.tmp";
    fs::remove_all(replaced);
    rename_path(directory, replaced);
    rename_path(temporary, directory);
    fs::remove_all(replaced);
  }
}

// Files written to a folder, and their part of the manifest.
class FolderWriter {
 public:
  explicit FolderWriter(fs::path directory) : directory_(std::move(directory)) {}

  void tensors(const std::string& name, const NamedTensors& named, std::map<std::string, std::string> metadata = {}) {
    metadata["format"] = "pt";
    write_safetensors(directory_ / name, named, metadata);
    for (const auto& [tensor_name, tensor] : named) entries_["tensors"][name + "/" + tensor_name] = tensor_hash(tensor);
    record(name);
  }
  void small(const std::string& name, const std::string& text) {
    if (text.empty()) return;
    write_text(directory_ / name, text);
    record(name);
  }
  void optimizer(const Checkpoint& checkpoint, const WritingRank& ranks) {
    const std::string name = optimizer_file_name(ranks.rank, ranks.size);
    if (!checkpoint.optimizer_pieces.empty() || ranks.size > 1) {
      tensors(name, tensors_of(checkpoint.optimizer_pieces), metadata_of(checkpoint.optimizer_pieces));
    } else if (!checkpoint.optimizer.empty()) {
      tensors(name, checkpoint.optimizer);
    }
  }
  const Json& entries() const { return entries_; }
  void add(const Json& entries) {  // of another rank
    entries_["files"].update(entries.at("files"));
    entries_["tensors"].update(entries.at("tensors"));
  }
  void finish(std::int64_t format_version) {
    const Json manifest = {
        {"format_version", format_version}, {"files", entries_["files"]}, {"tensors", entries_["tensors"]}};
    const std::string text = manifest.dump(2) + "\n";
    write_text(directory_ / kManifestFile, text);
    write_text(directory_ / kCompleteFile, hex64(xxh3(text)) + "\n");
    sync_path(directory_);
  }

 private:
  void record(const std::string& name) {
    const fs::path path = directory_ / name;
    entries_["files"][name] = {{"bytes", fs::file_size(path)}, {"xxh3", hex64(xxh3_file(path))}};
  }

  fs::path directory_;
  Json entries_ = {{"files", Json::object()}, {"tensors", Json::object()}};
};

// What the ranks of one save tell one another; nothing where one process writes alone.
class Conversation {
 public:
  explicit Conversation(const WritingRank& ranks) : ranks_(ranks) {}

  void post(const std::string& key, const Json& value) const {
    if (ranks_.size > 1) ranks_.exchange->post(prefix() + key, value.dump());
  }
  // The other side may be gone: that is not what this rank should then report.
  void post_error(const std::string& key, const std::string& message) const noexcept {
    try {
      post(key, {{"error", message}});
    } catch (...) {
    }
  }
  Json wait(const std::string& key) const { return parse(key, ranks_.exchange->wait(prefix() + key)); }
  // What this rank alone waits for.
  Json take(const std::string& key) const {
    const std::string value = ranks_.exchange->wait(prefix() + key);
    ranks_.exchange->forget(prefix() + key);
    return parse(key, value);
  }

 private:
  static Json parse(const std::string& key, const std::string& text) {
    const Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    TTT_CHECK(value.is_object(), "the ranks that save misunderstand one another at ", key);
    if (value.contains("error")) throw Error(value["error"].get<std::string>());
    return value;
  }
  std::string prefix() const { return "save/" + ranks_.save + "/"; }
  const WritingRank& ranks_;
};

std::string rank_key(int rank) {
  return cat("rank/", rank);
}

// A folder `place`, the one it is written to first, and where both lie.
struct Places {
  explicit Places(const fs::path& directory) {
    const fs::path place = fs::absolute(directory).lexically_normal();
    target = place.has_filename() ? place : place.parent_path();
    temporary = target.string() + ".tmp";
  }
  fs::path target, temporary;
};

void write_as_first(const fs::path& directory, const Checkpoint& checkpoint, const WritingRank& ranks) {
  const Conversation others(ranks);
  const Places places(directory);
  try {
    check_replaceable(directory);
    check_space(directory, checkpoint, ranks.size);
    make_writable_directory(places.target.parent_path());
    check_leftover(places.temporary);
    fs::remove_all(places.temporary);
    fs::create_directory(places.temporary);
  } catch (const std::exception& error) {
    others.post_error("begin", error.what());
    throw;
  }
  try {
    others.post("begin", Json::object());
    FolderWriter writer(places.temporary);
    writer.tensors(kModelFile, checkpoint.model);
    writer.small(kModelConfigFile, checkpoint.hf_config.dump(2) + "\n");
    writer.optimizer(checkpoint, ranks);
    writer.small(kStateFile, checkpoint.state.is_null() ? "" : checkpoint.state.dump(2) + "\n");
    writer.small(kRunConfigFile, checkpoint.config_yaml);
    writer.small(kTokenizerFile, checkpoint.tokenizer);
    for (int rank = 1; rank < ranks.size; ++rank) writer.add(others.take(rank_key(rank)));
    writer.finish(ranks.size == 1 && checkpoint.optimizer_pieces.empty() ? 1 : kFormatVersion);
    put_in_place(places.temporary, places.target);
    sync_path(places.target.parent_path());
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove_all(places.temporary, ignored);
    others.post_error("end", error.what());
    throw;
  }
  others.post("end", Json::object());
}

void write_as_other(const fs::path& directory, const Checkpoint& checkpoint, const WritingRank& ranks) {
  const Conversation others(ranks);
  others.wait("begin");
  try {
    FolderWriter writer(Places(directory).temporary);
    writer.optimizer(checkpoint, ranks);
    others.post(rank_key(ranks.rank), writer.entries());
  } catch (const std::exception& error) {
    others.post_error(rank_key(ranks.rank), error.what());
    others.wait("end");  // throws what the save failed of, which need not be this: rank 0 may have given up before
    throw;
  }
  others.wait("end");
}

// Copies of tensors in host memory: from a GPU into pinned memory and in a stream of their own, all at once, which takes
// a fraction of the time of one pageable copy after the other.
class HostCopies {
 public:
  at::Tensor operator()(const at::Tensor& tensor) {
    const bool pinned = tensor.is_cuda();
    at::Tensor copy =
        at::empty(tensor.sizes(), tensor.options().device(at::kCPU).requires_grad(false).pinned_memory(pinned));
    if (pinned && !stream_) begin(tensor.device());
    const c10::OptionalStreamGuard guard(pinned ? stream_ : std::nullopt);
    copy.copy_(tensor.detach(), /*non_blocking=*/pinned);
    if (pinned) sources_.push_back(tensor);
    return copy;
  }
  // Waits until all are there.
  void finish() {
    if (stream_) stream_->synchronize();
    sources_.clear();
  }

 private:
  // After what the training has queued until now.
  void begin(at::Device device) {
    const c10::impl::VirtualGuardImpl gpu(device.type());
    stream_ = gpu.getStreamFromGlobalPool(device);
    c10::Event queued(device.type());
    queued.record(gpu.getStream(device));
    queued.block(*stream_);
  }

  std::optional<c10::Stream> stream_;
  std::vector<at::Tensor> sources_;  // live until they have been read
};

}  // namespace

Checkpoint snapshot(Checkpoint checkpoint) {
  HostCopies copy;
  for (NamedTensors* tensors : {&checkpoint.model, &checkpoint.optimizer})
    for (auto& [name, tensor] : *tensors) tensor = copy(tensor);
  for (TensorPiece& piece : checkpoint.optimizer_pieces) piece.values = copy(piece.values);
  copy.finish();
  return checkpoint;
}

void write_checkpoint(const std::filesystem::path& directory, const Checkpoint& checkpoint, const WritingRank& ranks) {
  TTT_CHECK(ranks.size == 1 || ranks.exchange != nullptr, "several ranks that cannot talk");
  ranks.rank == 0 ? write_as_first(directory, checkpoint, ranks) : write_as_other(directory, checkpoint, ranks);
}

}  // namespace ttt
