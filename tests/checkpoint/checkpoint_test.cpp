// Checkpoint folders: what is written is read back, every damaged byte is found, replacing and retention.
#include "checkpoint/checkpoint.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <fstream>
#include <string>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"

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
  ASSERT_EQ(read.optimizer.size(), 2u);
  EXPECT_TRUE(torch::equal(read.optimizer[1].second, written.optimizer[1].second));
  EXPECT_EQ(read.hf_config, written.hf_config);
  EXPECT_EQ(read.state, written.state);
  EXPECT_EQ(read.config_yaml, written.config_yaml);
  EXPECT_EQ(read.tokenizer, written.tokenizer);
  EXPECT_TRUE(verify_checkpoint(directory).problems.empty());
  EXPECT_EQ(verify_checkpoint(directory).files.size(), 6u);

  const Checkpoint model_only = read_checkpoint(directory, CheckpointParts::kModel);
  EXPECT_EQ(model_only.model.size(), 2u);
  EXPECT_TRUE(model_only.optimizer.empty());
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
  manifest["format_version"] = 2;
  const std::string text = manifest.dump();
  write_bytes(directory / "manifest.json", text);
  write_bytes(directory / "COMPLETE", hex64(xxh3(text)) + "\n");
  EXPECT_NE(refusal(directory).find("format_version is 2"), std::string::npos) << refusal(directory);
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
  apply_retention(root_, 2, 30);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{30, 60, 70}));
  apply_retention(root_, 1, 0);
  EXPECT_EQ(steps(), (std::vector<std::int64_t>{70}));
  EXPECT_TRUE(fs::exists(root_ / "notes.tmp"));
  EXPECT_TRUE(list_checkpoints(root_ / "absent").empty());
}

}  // namespace
}  // namespace ttt
