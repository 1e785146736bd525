// Ledgers: where two runs part, and in what.
#include "train/run_diff.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/files.h"
#include "support/scratch_folder.h"
#include "train/ledger.h"

namespace ttt {
namespace {

class RunDiffTest : public ::testing::Test {
 protected:
  // A run of `steps` steps whose numbers `change` may alter; parameters are hashed every second step.
  fs::path run(const std::string& name, std::int64_t steps, const std::function<void(std::int64_t, Json&)>& change = {},
               const std::string& more_config = "") const {
    std::string text;
    for (std::int64_t step = 1; step <= steps; ++step) {
      const auto s = static_cast<std::uint64_t>(step);
      std::optional<std::uint64_t> parameters;
      if (step % 2 == 0) parameters = s * 31;
      Json line = ledger_line(step, s * 7, 1.0 / static_cast<double>(step), 0.5, parameters);
      if (change) change(step, line);
      text += line.dump() + "\n";
    }
    folder_.write(name + "/ledger.jsonl", text + "{\"step\":");  // and a line that was cut off
    folder_.write(name + "/config.yaml",
                  "model: {mixer: attention, vocab_size: 17, hidden_size: 16, num_layers: 1, num_heads: 2, "
                  "intermediate_size: 32}\ndata: {train: data}\ntrain: {context: 8, batch_tokens: 16}\noutput_dir: " +
                      name + "\n" + more_config);
    return folder_ / name;
  }
  ScratchFolder folder_;
};

TEST_F(RunDiffTest, EqualRunsMayHaveDifferentLengths) {
  const RunDiff diff = diff_runs(run("a", 9), run("b", 6));
  EXPECT_TRUE(diff.equal());
  EXPECT_EQ(diff.steps_compared, 6);
  EXPECT_EQ(diff.digests_compared, 3);
  EXPECT_EQ(diff.last_step_a, 9);
  EXPECT_EQ(diff.last_step_b, 6);
  EXPECT_TRUE(diff.config.empty());
}

TEST_F(RunDiffTest, TheFirstStepAndWhatDiffersThere) {
  const RunDiff diff = diff_runs(run("a", 9), run(
                                                  "b", 9,
                                                  [](std::int64_t step, Json& line) {
                                                    if (step >= 5)
                                                      line["loss"] = ledger_line(1, 0, 0.25, 0, {})["loss"];
                                                    if (step >= 5) line["grad_norm"] = "0000000000000001";
                                                    if (step >= 6) line["parameters"] = "0000000000000001";
                                                    if (step >= 7) line["samples"] = "0000000000000001";
                                                  },
                                                  "optim: {lr: 0.5}\n"));
  ASSERT_FALSE(diff.equal());
  EXPECT_EQ(diff.first->step, 5);
  EXPECT_EQ(diff.first->what, (std::vector<std::string>{"loss", "grad_norm"}));
  EXPECT_EQ(diff.first->loss_a, 0.2);
  EXPECT_EQ(diff.first->loss_b, 0.25);
  EXPECT_EQ(diff.last_equal_digest, 4);
  EXPECT_EQ(diff.first_other_digest, 6);
  ASSERT_EQ(diff.config.size(), 1u);
  EXPECT_EQ(diff.config[0].key, "optim.lr");
  EXPECT_EQ(to_json(diff).at("first_difference").at("step"), 5);
}

TEST_F(RunDiffTest, TheLastBitCounts) {
  const auto next = [](std::int64_t step, Json& line) {
    if (step == 3) line["loss"] = ledger_line(1, 0, std::nextafter(1.0 / 3, 1.0), 0, {})["loss"];
  };
  EXPECT_EQ(diff_runs(run("a", 4), run("b", 4, next)).first->step, 3);
}

TEST_F(RunDiffTest, WhatCannotBeReadIsNoted) {
  EXPECT_TRUE(diff_runs(run("a", 4), run("b", 4)).notes.empty());  // a last line that was cut off is none
  const auto damage = [](std::int64_t step, Json& line) {
    if (step == 2) line["loss"] = "not hexadecimal";
    if (step == 3) line = "no object";
  };
  RunDiff diff = diff_runs(run("a", 4), run("b", 4, damage));
  EXPECT_EQ(diff.steps_compared, 2);
  ASSERT_EQ(diff.notes.size(), 2u);
  EXPECT_NE(diff.notes[0].find("line 2 of '"), std::string::npos) << diff.notes[0];
  EXPECT_NE(to_text(diff).find(diff.notes[1]), std::string::npos);
  // The config of another version of the program.
  diff = diff_runs(run("a", 4), run("b", 4, {}, "later_key: 1\n"));
  EXPECT_TRUE(diff.equal());
  ASSERT_EQ(diff.notes.size(), 1u);
  EXPECT_NE(diff.notes[0].find("unknown key 'later_key'"), std::string::npos) << diff.notes[0];
  EXPECT_EQ(to_json(diff).at("notes").size(), 1u);
}

TEST_F(RunDiffTest, WhatCannotBeComparedIsRefused) {
  const auto later = [](std::int64_t step, Json& line) { line["step"] = step + 100; };
  EXPECT_THROW(diff_runs(run("a", 4), run("b", 4, later)), UserError);
  fs::remove(folder_ / "b" / "ledger.jsonl");
  EXPECT_THROW(diff_runs(folder_ / "a", folder_ / "b"), UserError);
}

}  // namespace
}  // namespace ttt
