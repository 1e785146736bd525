// Checkpoint folders: what is written is read back, every damaged byte is found, replacing and retention.
#include "checkpoint/checkpoint.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <condition_variable>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "support/stored_optimizer.h"

namespace ttt {
namespace {

class CheckpointFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) / ("checkpoint_" + std::to_string(getpid()));
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }
  fs::path root_;
};

Checkpoint example(double seed) {
  Checkpoint checkpoint;
  checkpoint.model = {{"model.embed.weight", torch::arange(12).reshape({3, 4}) * seed},
                      {"model.norm.weight", torch::full({4}, seed)}};
  checkpoint.optimizer = {{"exp_avg/embed", torch::full({3, 4}, seed)},
                          {"exp_avg_sq/embed", torch::full({3, 4}, 2 * seed)}};
  checkpoint.hf_config = {{"model_type", "llama"}, {"hidden_size", 4}};
  checkpoint.state = {{"step", 7}, {"cursor", 28}};
  checkpoint.config_yaml = "train:\n  steps: 10\n";
  checkpoint.tokenizer = std::string("binary\0bytes", 12);
  return checkpoint;
}

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string refusal(const fs::path& directory, CheckpointParts parts = CheckpointParts::kAll) {
  try {
    read_checkpoint(directory, parts);
    return "";
  } catch (const UserError& error) {
    return error.what();
  }
}

TEST_F(CheckpointFolder, WhatIsWrittenIsReadBack) {
  const fs::path directory = checkpoint_path(root_, 1000);
  EXPECT_EQ(directory.filename(), "step_00001000");
  const Checkpoint written = example(3);
  write_checkpoint(directory, written);
  const Checkpoint read = read_checkpoint(directory, CheckpointParts::kAll);
  ASSERT_EQ(read.model.size(), 2u);
  EXPECT_EQ(read.model[0].first, "model.embed.weight");
  EXPECT_TRUE(torch::equal(read.model[0].second, written.model[0].second));
  const NamedTensors optimizer = whole_tensors(read.stored_optimizer);
  ASSERT_EQ(optimizer.size(), 2u);
  EXPECT_TRUE(torch::equal(optimizer[1].second, written.optimizer[1].second));
  EXPECT_EQ(read.hf_config, written.hf_config);
  EXPECT_EQ(read.state, written.state);
  EXPECT_EQ(read.config_yaml, written.config_yaml);
  EXPECT_EQ(read.tokenizer, written.tokenizer);
  EXPECT_TRUE(verify_checkpoint(directory).problems.empty());
  EXPECT_EQ(verify_checkpoint(directory).files.size(), 6u);

  const Checkpoint model_only = read_checkpoint(directory, CheckpointParts::kModel);
  EXPECT_EQ(model_only.model.size(), 2u);
  EXPECT_TRUE(model_only.stored_optimizer.names().empty());
  EXPECT_TRUE(model_only.state.is_null());
  EXPECT_FALSE(fs::exists(directory.string() + ".tmp"));
}

TEST_F(CheckpointFolder, EqualContentGivesEqualBytes) {
  write_checkpoint(root_ / "a", example(3));
  write_checkpoint(root_ / "b", example(3));
  const auto files = list_files(root_ / "a");
  EXPECT_EQ(files.size(), 8u);
  for (const fs::path& path : files) EXPECT_EQ(read_file(path), read_file(root_ / "b" / path.filename())) << path;
}

TEST_F(CheckpointFolder, AFlippedByteAnywhereIsFound) {
  const fs::path directory = root_ / "step_00000007";
  write_checkpoint(directory, example(3));
  for (const fs::path& path : list_files(directory)) {
    const std::string whole = read_file(path);
    for (const std::size_t place : {std::size_t{0}, whole.size() / 2, whole.size() - 1}) {
      std::string damaged = whole;
      damaged[place] = static_cast<char>(damaged[place] ^ 0x10);
      write_bytes(path, damaged);
      const std::string message = refusal(directory);
      const std::string named = path.filename() == "COMPLETE" ? "manifest.json" : path.filename().string();
      EXPECT_NE(message.find(named), std::string::npos) << path << " at " << place << ": '" << message << "'";
      EXPECT_NE(message.find(directory.string()), std::string::npos) << message;
      EXPECT_NE(refusal(directory, CheckpointParts::kModel), "") << path;
      EXPECT_FALSE(verify_checkpoint(directory).problems.empty()) << path << " at " << place;
    }
    write_bytes(path, whole.substr(0, whole.size() - 1));
    EXPECT_NE(refusal(directory), "") << path << " cut";
    fs::remove(path);
    EXPECT_NE(refusal(directory), "") << path << " removed";
    write_bytes(path, whole);
  }
  EXPECT_EQ(refusal(directory), "");
}

TEST_F(CheckpointFolder, TheDamagedTensorIsNamed) {
  const fs::path directory = root_ / "named";
  write_checkpoint(directory, example(3));
  const fs::path path = directory / "model.safetensors";
  std::string bytes = read_file(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_bytes(path, bytes);
  EXPECT_NE(refusal(directory).find("tensor 'model.norm.weight'"), std::string::npos) << refusal(directory);
  EXPECT_EQ(refusal(directory).find("embed"), std::string::npos) << refusal(directory);
}

TEST_F(CheckpointFolder, ANewerFormatIsRefusedByName) {
  const fs::path directory = root_ / "newer";
  write_checkpoint(directory, example(3));
  Json manifest = Json::parse(read_file(directory / "manifest.json"));
  manifest["format_version"] = 3;
  const std::string text = manifest.dump();
  write_bytes(directory / "manifest.json", text);
  write_bytes(directory / "COMPLETE", hex64(xxh3(text)) + "\n");
  EXPECT_NE(refusal(directory).find("format_version is 3"), std::string::npos) << refusal(directory);
}

TEST_F(CheckpointFolder, OneThatHasNoRoomIsNotBegun) {
  Checkpoint huge = example(3);
  huge.model.emplace_back("huge",
                          torch::zeros({1}).expand({std::int64_t{1} << 56}));  // 2^58 bytes, none of them in memory
  try {
    write_checkpoint(root_ / "step_00000009", huge);
    FAIL() << "no error";
  } catch (const UserError&) {
    FAIL() << "not the user's fault: exit code 1";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("step_00000009"), std::string::npos) << message;
    EXPECT_NE(message.find("MiB free; free some space"), std::string::npos) << message;
  }
  EXPECT_TRUE(fs::is_empty(root_));
}

TEST_F(CheckpointFolder, AbsentOrUnfinishedIsSaid) {
  EXPECT_NE(refusal(root_ / "absent").find("no such folder"), std::string::npos);
  write_checkpoint(root_ / "step_00000001", example(1));
  fs::remove(root_ / "step_00000001" / "COMPLETE");
  EXPECT_NE(refusal(root_ / "step_00000001").find("COMPLETE"), std::string::npos);
  EXPECT_TRUE(list_checkpoints(root_).empty());
}

TEST_F(CheckpointFolder, ACheckpointIsReplacedAndNothingElseIs) {
  const fs::path directory = root_ / "step_00000003";
  write_checkpoint(directory, example(1));
  Checkpoint smaller = example(2);
  smaller.tokenizer.clear();
  smaller.optimizer.clear();
  smaller.state = Json();
  write_checkpoint(directory, smaller);
  const Checkpoint read = read_checkpoint(directory, CheckpointParts::kAll);
  EXPECT_TRUE(torch::equal(read.model[1].second, torch::full({4}, 2.0)));
  EXPECT_FALSE(fs::exists(directory / "tokenizer.model"));
  EXPECT_TRUE(read.state.is_null());
  EXPECT_EQ(list_files(root_).size(),
            5u);  // model, config.json, config.yaml, manifest, COMPLETE: nothing is left beside

  const fs::path own = root_ / "my_documents";
  fs::create_directories(own);
  write_bytes(own / "thesis.txt", "text");
  EXPECT_THROW(write_checkpoint(own, example(1)), UserError);
  EXPECT_EQ(read_file(own / "thesis.txt"), "text");
  write_bytes(root_ / "file", "text");
  EXPECT_THROW(write_checkpoint(root_ / "file", example(1)), UserError);
  EXPECT_THROW(write_checkpoint(root_ / "file" / "below", example(1)), UserError);
}

TEST_F(CheckpointFolder, WhatAKilledSaveLeftIsClearedAway) {
  const fs::path directory = root_ / "step_00000004";
  const fs::path leftover = root_ / "step_00000004.tmp";
  fs::create_directories(leftover);
  write_bytes(leftover / "model.safetensors", "cut sho");
  write_checkpoint(directory, example(1));
  EXPECT_FALSE(fs::exists(leftover));
  EXPECT_TRUE(verify_checkpoint(directory).problems.empty());

  fs::create_directories(leftover);
  write_bytes(leftover / "thesis.txt", "text");
  EXPECT_THROW(write_checkpoint(directory, example(2)), UserError);
  EXPECT_EQ(read_file(leftover / "thesis.txt"), "text");
}

// What TCPStore is between processes, between threads.
class ThreadExchange : public KeyValueExchange {
 public:
  void post(const std::string& key, const std::string& value) override {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(values_.emplace(key, value).second) << key << " is posted twice";
    posted_.notify_all();
  }
  std::string wait(const std::string& key) override {
    std::unique_lock lock(mutex_);
    posted_.wait(lock, [&] { return values_.count(key) != 0; });
    return values_.at(key);
  }
  void forget(const std::string& key) override {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(values_.erase(key), 1u);
  }
  void close() override {}

 private:
  std::mutex mutex_;
  std::condition_variable posted_;
  std::map<std::string, std::string> values_;
};

// The example's optimizer, as `size` ranks hold it: each a stretch of the tensors laid end to end.
std::vector<TensorPiece> pieces_of(const Checkpoint& whole, int rank, int size) {
  std::int64_t total = 0, begin = 0;
  for (const auto& [name, tensor] : whole.optimizer) total += tensor.numel();
  const std::int64_t first = total * rank / size, last = total * (rank + 1) / size;
  std::vector<TensorPiece> pieces;
  for (const auto& [name, tensor] : whole.optimizer) {
    const std::int64_t from = std::max(first, begin) - begin, to = std::min(last, begin + tensor.numel()) - begin;
    if (from < to) pieces.push_back({name, tensor.flatten().slice(0, from, to), from, tensor.sizes().vec()});
    begin += tensor.numel();
  }
  return pieces;
}

// Writes `whole` as `size` ranks, a thread each; the error of each rank, "" where there was none.
std::vector<std::string> write_as_ranks(const fs::path& directory, const Checkpoint& whole, int size,
                                        const std::function<void(int, Checkpoint&)>& change = {}) {
  ThreadExchange exchange;
  std::vector<std::string> errors(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      Checkpoint own = rank == 0 ? whole : Checkpoint();
      own.optimizer.clear();
      own.optimizer_pieces = pieces_of(whole, rank, size);
      if (change) change(rank, own);
      try {
        write_checkpoint(directory, own, {rank, size, &exchange, "7"});
      } catch (const Error& error) {
        errors[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

TEST_F(CheckpointFolder, RanksWriteTogetherWhatOneReads) {
  const Checkpoint written = example(3);  // moments of 12 elements each
  for (const int size : {2, 3, 5, 16, 30}) {
    const fs::path directory = checkpoint_path(root_, size);
    for (const std::string& error : write_as_ranks(directory, written, size)) EXPECT_EQ(error, "");
    EXPECT_EQ(verify_checkpoint(directory).files.size(), 5u + static_cast<std::size_t>(size));
    EXPECT_TRUE(verify_checkpoint(directory).problems.empty());
    const Checkpoint read = read_checkpoint(directory, CheckpointParts::kAll);
    const NamedTensors optimizer = whole_tensors(read.stored_optimizer);
    ASSERT_EQ(optimizer.size(), written.optimizer.size());
    for (std::size_t i = 0; i < optimizer.size(); ++i) {
      EXPECT_EQ(optimizer[i].first, written.optimizer[i].first);
      EXPECT_TRUE(torch::equal(optimizer[i].second, written.optimizer[i].second)) << size;
    }
    EXPECT_EQ(read.state, written.state);
    EXPECT_TRUE(read_checkpoint(directory, CheckpointParts::kModel).stored_optimizer.names().empty());
  }
  fs::remove(checkpoint_path(root_, 3) / optimizer_file_name(1, 3));
  EXPECT_NE(refusal(checkpoint_path(root_, 3)).find("optimizer-00001-of-00003.safetensors is missing"),
            std::string::npos);
}

// Elements from the middle of a tensor come from the files that hold them, and no other elements are read.
TEST_F(CheckpointFolder, OfTheOptimizerWhatIsAskedForIsRead) {
  Checkpoint written = example(3);
  for (auto& [name, tensor] : written.optimizer) tensor = torch::arange(12).reshape({3, 4}).to(torch::kFloat);
  const fs::path directory = checkpoint_path(root_, 1);
  for (const std::string& error : write_as_ranks(directory, written, 5)) EXPECT_EQ(error, "");  // 4 or 5 elements each
  std::vector<std::string> reads;
  const OptimizerReadWatch watch([&](const std::string& path, const std::string& tensor, ElementRange elements) {
    reads.push_back(cat(fs::path(path).filename().string(), " ", tensor, " ", elements.first, " to ", elements.last));
  });
  const Checkpoint read = read_checkpoint(directory, CheckpointParts::kAll);
  EXPECT_TRUE(reads.empty());
  for (std::int64_t first = 0; first <= 12; ++first) {
    for (std::int64_t last = first; last <= 12; ++last) {
      torch::Tensor part = torch::full({last - first}, -1.0f);
      read.stored_optimizer.read("exp_avg_sq/embed", {first, last}, part);
      EXPECT_TRUE(torch::equal(part, torch::arange(first, last).to(torch::kFloat))) << first << " to " << last;
    }
  }
  reads.clear();
  torch::Tensor part = torch::empty({5});
  read.stored_optimizer.read("exp_avg/embed", {3, 8}, part);
  EXPECT_EQ(reads, (std::vector<std::string>{"optimizer-00000-of-00005.safetensors exp_avg/embed 3 to 4",
                                             "optimizer-00001-of-00005.safetensors exp_avg/embed 4 to 8"}));
  EXPECT_EQ(read.stored_optimizer.shape("exp_avg/other"), nullptr);
}

// Who trusts another process's check of the hashes still notices what is missing, cut short, or not tensors at all.
TEST_F(CheckpointFolder, HashesOfTensorsAreCheckedByThoseWhoDoNotTrust) {
  const fs::path directory = checkpoint_path(root_, 1);
  write_checkpoint(directory, example(3));
  const auto refused = [&](TensorHashes hashes) {
    try {
      read_checkpoint(directory, CheckpointParts::kAll, hashes);
      return std::string();
    } catch (const DamagedCheckpoint& damage) {
      return std::string(damage.what());
    }
  };
  const fs::path file = directory / optimizer_file_name(0, 1);
  const std::string whole = read_file(file);
  std::string flipped = whole;
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  write_bytes(file, flipped);
  EXPECT_NE(refused(TensorHashes::kChecked).find("(tensor 'exp_avg_sq/embed') does not have the checksum"),
            std::string::npos);
  EXPECT_EQ(refused(TensorHashes::kTrusted), "");
  write_bytes(file, whole.substr(0, whole.size() - 1));
  EXPECT_NE(refused(TensorHashes::kTrusted).find("bytes instead of"), std::string::npos);
  write_bytes(file, whole);
  write_bytes(directory / "state.json", std::string(read_file(directory / "state.json").size(), ' '));
  EXPECT_NE(refused(TensorHashes::kTrusted).find("state.json does not have the checksum"), std::string::npos);
}

TEST_F(CheckpointFolder, PiecesMustCoverTheirTensorsExactly) {
  const Checkpoint written = example(3);
  const auto refused_with = [&](const std::function<void(int, Checkpoint&)>& change) {
    const fs::path directory = root_ / "pieces";
    for (const std::string& error : write_as_ranks(directory, written, 3, change)) EXPECT_EQ(error, "");
    return refusal(directory);
  };
  const auto says = [](const std::string& message, const char* what) {
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  // Rank 1 of 3 holds elements 8 to 12 of the first moment and 0 to 4 of the second.
  says(refused_with([](int rank, Checkpoint& own) {
         if (rank == 1) own.optimizer_pieces[0].first = 7;
       }),
       "'exp_avg/embed' overlap at element 7");
  says(refused_with([](int rank, Checkpoint& own) {
         if (rank == 1) own.optimizer_pieces[0].first = 9;
       }),
       "'exp_avg/embed' leave a gap before element 8");
  says(refused_with([](int rank, Checkpoint& own) {
         if (rank == 1) own.optimizer_pieces.erase(own.optimizer_pieces.begin());
       }),
       "'exp_avg/embed' hold 8 of 12 elements");
  says(refused_with([](int rank, Checkpoint& own) {
         if (rank == 2) own.optimizer_pieces[0].shape = {12};
       }),
       "'exp_avg_sq/embed' are not of one tensor");
}

TEST_F(CheckpointFolder, WhereOneRankFailsAllSayWhy) {
  Checkpoint huge = example(3);
  huge.model.emplace_back("huge", torch::zeros({1}).expand({std::int64_t{1} << 56}));
  for (const std::string& error : write_as_ranks(checkpoint_path(root_, 1), huge, 3))
    EXPECT_NE(error.find("MiB free"), std::string::npos) << error;
  // Names must be unique: the third rank cannot write its file.
  const auto twice = [](int rank, Checkpoint& own) {
    if (rank == 2) own.optimizer_pieces.push_back(own.optimizer_pieces.front());
  };
  for (const std::string& error : write_as_ranks(checkpoint_path(root_, 1), example(3), 3, twice))
    EXPECT_NE(error.find("occurs twice"), std::string::npos) << error;
  EXPECT_TRUE(fs::is_empty(root_));
}

TEST_F(CheckpointFolder, AThousandFlippedBitsAreFound) {
  Checkpoint checkpoint = example(3);
  checkpoint.model.emplace_back("model.layers.0.weight", torch::rand({64, 33}));
  checkpoint.optimizer.emplace_back("exp_avg/weight", torch::rand({64, 33}));
  const fs::path alone = root_ / "alone", together = root_ / "together";
  write_checkpoint(alone, checkpoint);
  for (const std::string& error : write_as_ranks(together, checkpoint, 3)) EXPECT_EQ(error, "");
  std::mt19937_64 random(20241122);
  for (int flip = 0; flip < 1000; ++flip) {
    const fs::path& directory = flip % 2 == 0 ? alone : together;
    const std::vector<fs::path> files = list_files(directory);
    // Every file as often as every other, and then any bit of it.
    const fs::path path = files[random() % files.size()];
    const std::string whole = read_file(path);
    std::string damaged = whole;
    const std::size_t bit = random() % (8 * whole.size());
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    write_bytes(path, damaged);
    EXPECT_NE(refusal(directory), "") << "bit " << bit << " of " << path;
    write_bytes(path, whole);
  }
  EXPECT_EQ(refusal(alone), "");
  EXPECT_EQ(refusal(together), "");
}

TEST_F(CheckpointFolder, ASnapshotIsOfItsMoment) {
  Checkpoint checkpoint = example(3);
  const Checkpoint copy = snapshot(checkpoint);
  checkpoint.model[1].second.fill_(9);
  checkpoint.optimizer[0].second.fill_(9);
  EXPECT_TRUE(torch::equal(copy.model[1].second, torch::full({4}, 3.0)));
  EXPECT_TRUE(torch::equal(copy.optimizer[0].second, torch::full({3, 4}, 3.0)));
}

TEST_F(CheckpointFolder, ADamagedOneIsSetAside) {
  write_checkpoint(checkpoint_path(root_, 5), example(1));
  EXPECT_EQ(set_aside(checkpoint_path(root_, 5)).filename(), "step_00000005.damaged");
  write_checkpoint(checkpoint_path(root_, 5), example(1));
  EXPECT_EQ(set_aside(checkpoint_path(root_, 5)).filename(), "step_00000005.damaged.2");
  EXPECT_TRUE(list_step_folders(root_).empty());
  apply_retention(root_, 1, 0);
  EXPECT_TRUE(fs::exists(root_ / "step_00000005.damaged" / "COMPLETE"));
}

TEST_F(CheckpointFolder, RetentionKeepsTheNewestAndTheMultiples) {
  for (int step = 10; step <= 70; step += 10) write_checkpoint(checkpoint_path(root_, step), example(1));
  fs::create_directories(root_ / "step_00000080.tmp");
  fs::create_directories(root_ / "notes.tmp");
  const auto steps = [&] {
    std::vector<std::int64_t> found;
    for (const auto& [step, path] : list_checkpoints(root_)) found.push_back(step);
    return found;
  };
  apply_retention(root_, 0, 0);
  EXPECT_EQ(steps().size(), 7u);
  EXPECT_FALSE(fs::exists(root_ / "step_00000080.tmp"));
  apply_retention(root_, 2, 30, {20});
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{20, 30, 60, 70}));
  apply_retention(root_, 2, 30);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{30, 60, 70}));
  apply_retention(root_, 1, 0);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{70}));
  EXPECT_TRUE(fs::exists(root_ / "notes.tmp"));
  EXPECT_TRUE(list_checkpoints(root_ / "absent").empty());
}

}  // namespace
}  // namespace ttt
