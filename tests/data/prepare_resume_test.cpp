// A preparation that is interrupted and called again ends with the bytes of one that was not.
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <functional>
#include <map>

#include "data/prepare.h"
#include "data/scratch.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

class PrepareResumeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text;
    for (int i = 0; i < 500; ++i) text += "the quick brown fox number " + std::to_string(i) + "\n    jumps over it;\n";
    folder_.write("train.txt", text);
    train_tokenizer(
        {.inputs = {folder_ / "train.txt"}, .extensions = {}, .output = folder_ / "t.model", .vocab_size = 330});
    std::string lines, large;
    for (int i = 0; i < 4000; ++i) {
      lines += "{\"text\": \"document " + std::to_string(i) + " of the fox\", \"set\": \"" +
               (i % 3 == 0 ? "a" : "b/c") + "\"}\n";
    }
    for (int i = 0; i < 100000; ++i) large += "over the fox number " + std::to_string(i);
    folder_.write("text/1.jsonl", lines);
    folder_.write("text/2.jsonl", "{\"set\": \"b/c\", \"text\": \"" + large + "\"}\n" + lines);
  }

  PrepareText options(const std::string& output) const {
    PrepareText options{
        .inputs = {folder_ / "text"}, .extensions = {}, .tokenizer = folder_ / "t.model", .output = folder_ / output};
    options.format.domain_field = "set";
    options.valid_fraction = 0.1;
    options.shard_tokens = 50000;
    options.save_every = 300000;
    options.threads = 2;
    return options;
  }

  // Runs prepare_text in a child process after `before`; its exit code, or minus the signal that killed it.
  static int run_apart(const PrepareText& options, const std::function<void()>& before, int kill_after_us = -1) {
    const pid_t child = fork();
    if (child == 0) {
      before();
      int code = 0;
      try {
        prepare_text(options);
      } catch (const UserError&) {
        code = 2;
      } catch (const Error& error) {
        code = std::string(error.what()).find("the same command goes on") != std::string::npos ? 1 : 3;
      }
      _exit(code);
    }
    if (kill_after_us >= 0) {
      usleep(static_cast<useconds_t>(kill_after_us));
      kill(child, SIGKILL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }

  // For run_apart: writing a file beyond so many bytes fails as on a full disk.
  static std::function<void()> limit_files_to(rlim_t bytes) {
    return [bytes] {
      signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{bytes, bytes};
      setrlimit(RLIMIT_FSIZE, &limit);
    };
  }

  // Every file below a folder, by its name there.
  std::map<std::string, std::string> content_of(const std::string& output) const {
    std::map<std::string, std::string> content;
    for (const fs::path& file : list_files(folder_ / output)) {
      content[fs::relative(file, folder_ / output).string()] = read_file(file);
    }
    return content;
  }

  ScratchFolder folder_;
};

TEST_F(PrepareResumeTest, KillsAtAnyMomentChangeNoByte) {
  prepare_text(options("whole"));
  const auto expected = content_of("whole");
  ASSERT_TRUE(expected.contains("b_c/valid/manifest.json") && expected.contains("domains.json"));
  int killed = 0;
  for (int delay = 2000; delay < 400000; delay = delay * 5 / 4) {
    const PrepareText again = options("killed");
    while (run_apart(
               again, [] {}, delay) == -SIGKILL &&
           killed < 200) {
      ++killed;
      delay = delay * 9 / 8;
    }
    if (!fs::exists(folder_ / "killed/.prepare")) {
      ASSERT_EQ(content_of("killed"), expected) << "after " << killed << " kills";
      fs::remove_all(folder_ / "killed");
    }
  }
  EXPECT_GT(killed, 10);
}

TEST_F(PrepareResumeTest, AFullDiskIsNamedAndLeavesAPreparationThatGoesOn) {
  prepare_text(options("whole"));
  const PrepareText again = options("full");
  for (const rlim_t limit : {60000u, 90000u, 99000u}) {  // bytes of a file
    const int code = run_apart(again, limit_files_to(limit));
    EXPECT_EQ(code, 1);
    EXPECT_TRUE(fs::exists(folder_ / "full/.prepare/journal.json"));
  }
  prepare_text(again);
  EXPECT_EQ(content_of("full"), content_of("whole"));
}

TEST_F(PrepareResumeTest, AnotherCommandDoesNotGoOnUnlessForced) {
  ASSERT_EQ(run_apart(options("set"), limit_files_to(60000)), 1);
  ASSERT_TRUE(fs::exists(folder_ / "set/.prepare/journal.json"));
  PrepareText other = options("set");
  other.shard_tokens = 60000;
  EXPECT_TRUE(mentions(user_error_of([&] { prepare_text(other); }), {"unfinished preparation", "--force"}));
  folder_.write("text/3.jsonl", "{\"text\": \"more\", \"set\": \"a\"}\n");  // changed input is another command, too
  EXPECT_TRUE(mentions(user_error_of([&] { prepare_text(options("set")); }), {"unfinished preparation"}));
  EXPECT_TRUE(fs::exists(folder_ / "set/.prepare/journal.json"));
  other.force = true;
  prepare_text(other);
  other.output = folder_ / "fresh";
  prepare_text(other);
  EXPECT_EQ(content_of("set"), content_of("fresh"));
}

TEST_F(PrepareResumeTest, AKilledPreparationWithinItsInputGoesOn) {
  folder_.write("text/0.txt", "plain text");
  PrepareText within = options("text/set");
  within.format.domain_field.clear();
  ASSERT_EQ(run_apart(within, limit_files_to(60000)), 1);
  ASSERT_TRUE(fs::exists(folder_ / "text/set/.prepare/journal.json"));
  ::testing::internal::CaptureStderr();
  prepare_text(within);
  EXPECT_TRUE(mentions(::testing::internal::GetCapturedStderr(), {"going on"}));
  PrepareText beside = within;
  beside.output = folder_ / "beside";
  fs::rename(folder_ / "text/set", folder_ / "moved");
  prepare_text(beside);
  EXPECT_EQ(content_of("moved"), content_of("beside"));
}

// What was begun with --force goes on without it, and the counts are those of the whole.
TEST_F(PrepareResumeTest, ForceIsRememberedAndCountsGoOn) {
  folder_.write("text/0.jsonl", "{\"text\": \"\", \"set\": \"a\"}\n{\"text\": \"\\ud83d\", \"set\": \"a\"}\n");
  folder_.write("text/9.jsonl", "{\"text\": \"\", \"set\": \"a\"}\n");
  prepare_text(options("set"));
  PrepareText again = options("set");
  again.shard_tokens = 60000;
  again.force = true;
  ASSERT_EQ(run_apart(again, limit_files_to(60000)), 1);
  again.force = false;
  const DocumentCounts counts = prepare_text(again);
  EXPECT_EQ(counts.empty, 2);
  EXPECT_EQ(counts.replaced, 1);
}

TEST_F(PrepareResumeTest, WhatADroppedPreparationHadPutInPlaceGoes) {
  for (const char* name : {"set/old/train/tokens-00000.bin", "set/old/train/tokenizer.model", "set/a/train/mine.txt"})
    folder_.write(name, "left");
  folder_.write("set/.prepare/journal.json",
                R"({"version": 2, "command": "another", "placing": true, "sets": [{"name": "old/train"}]})");
  EXPECT_TRUE(mentions(user_error_of([&] { prepare_text(options("set")); }), {"unfinished preparation", "--force"}));
  EXPECT_TRUE(fs::exists(folder_ / "set/old/train/tokens-00000.bin"));
  PrepareText forced = options("set");
  forced.force = true;
  prepare_text(forced);
  EXPECT_FALSE(fs::exists(folder_ / "set/old/train"));
  EXPECT_TRUE(fs::exists(folder_ / "set/a/train/mine.txt"));
}

TEST_F(PrepareResumeTest, BadInputLeavesNothingEvenAfterAKill) {
  folder_.write("text/9.jsonl", "{\"text\": \"broken");
  PrepareText deep = options("new/folder/set");
  run_apart(
      deep, [] {}, 60000);
  EXPECT_TRUE(mentions(user_error_of([&] { prepare_text(deep); }), {"9.jsonl", "line 1", "broken JSON"}));
  EXPECT_FALSE(fs::exists(folder_ / "new"));
  folder_.write("here/mine.txt", "kept");
  deep.output = folder_ / "here";
  EXPECT_TRUE(mentions(user_error_of([&] { prepare_text(deep); }), {"broken JSON"}));
  EXPECT_EQ(content_of("here"), (std::map<std::string, std::string>{{"mine.txt", "kept"}}));
}

}  // namespace
}  // namespace ttt
