// Branches: a run that goes on from another run's checkpoint ends as if it had been trained from its beginning.
#include <gtest/gtest.h>

#include "train/resume.h"
#include "train/run_diff.h"
#include "train/tiny_run.h"

namespace ttt {
namespace {

class BranchTest : public TinyRunTest {
 protected:
  // A WSD run of 20 steps that keeps what a run of 12 needs: that cools down over its last 3.
  RunConfig trunk(const MixerPattern& mixer = MixerKind::kTttLinear) const {
    RunConfig c = wsd(20, "trunk", mixer);
    c.checkpoint = {.every = 2, .keep_last = 1, .keep_every = 0, .keep_steps = {9}};
    return c;
  }
  RunConfig wsd(std::int64_t steps, const std::string& output,
                const MixerPattern& mixer = MixerKind::kTttLinear) const {
    RunConfig c = config(mixer, output);
    c.train.steps = steps;
    c.train.digest_every = 1;
    c.optim.decay_steps = 0;
    c.optim.schedule = ScheduleKind::kWsd;
    c.optim.cooldown_steps = 3;
    c.data.valid = c.data.train;
    return c;
  }
  RunConfig branch(std::int64_t steps = 12, const MixerPattern& mixer = MixerKind::kTttLinear) const {
    RunConfig c = wsd(steps, "branch", mixer);
    c.branch_from = (scratch_ / "trunk/checkpoints/step_00000009").string();
    return c;
  }
};

TEST_F(BranchTest, EqualsTheSeparateRunBitForBit) {
  for (const MixerPattern& mixer : {MixerPattern(MixerKind::kTttLinear), MixerPattern(MixerKind::kAttention),
                                    MixerPattern(MixerKind::kMamba), MixerPattern(MixerKind::kTttMlp)}) {
    SCOPED_TRACE(to_string(mixer));
    for (const char* name : {"trunk", "branch", "separate"}) fs::remove_all(scratch_ / name);
    const RunConfig separate = wsd(12, "separate", mixer);
    ASSERT_EQ(run(trunk(mixer)), ExitCode::kOk);
    // The trunk has kept that one beside its newest.
    std::vector<std::int64_t> steps;
    for (const auto& [step, folder] : list_checkpoints(scratch_ / "trunk/checkpoints")) steps.push_back(step);
    EXPECT_EQ(steps, (std::vector<std::int64_t>{9, 20}));
    RunConfig branch = this->branch(12, mixer);
    branch.branch_from += "/";  // as a shell completes it
    ASSERT_EQ(run(branch), ExitCode::kOk);
    ASSERT_EQ(run(separate), ExitCode::kOk);
    expect_same_end(branch, separate);
    const RunDiff diff = diff_runs(branch.output_dir, separate.output_dir);
    EXPECT_TRUE(diff.equal());
    EXPECT_EQ(diff.steps_compared, 12);  // the trunk's ledger comes first in the branch's
    EXPECT_EQ(diff.digests_compared, 12);
    const auto losses = [](const RunConfig& c) {
      std::vector<Json> all;
      for (const Json& line : read_metrics(fs::path(c.output_dir) / "metrics.jsonl", "train"))
        all.push_back({line.at("step"), line.at("loss"), line.at("lr"), line.at("tokens")});
      return all;
    };
    EXPECT_EQ(losses(branch), losses(separate));
    EXPECT_FALSE(diff_runs(branch.output_dir, scratch_ / "trunk").equal());  // they part where the branch cools down
  }
}

// A branch that was stopped goes on from its own checkpoint, also when the trunk is gone.
TEST_F(BranchTest, ResumesFromItsOwnCheckpoints) {
  run(trunk());
  RunConfig c = branch(), separate = wsd(12, "separate");
  c.checkpoint.every = 1;
  {
    Trainer trainer(c, {.quiet = true});
    EXPECT_EQ(trainer.state().step, 9);
    trainer.step();  // lost: it was not saved
  }
  RunConfig part = c;
  part.train.steps = 11;
  part.optim.decay_steps = 12;
  run(part);
  fs::remove_all(scratch_ / "trunk");
  run(c);
  run(separate);
  expect_same_end(c, separate);
  EXPECT_TRUE(diff_runs(c.output_dir, separate.output_dir).equal());
}

TEST_F(BranchTest, WhatWouldNotBeTheSameRunIsRefused) {
  run(trunk());
  const std::string start = cat("branch_from '", branch().branch_from, "' ");
  RunConfig c = branch();
  c.optim.lr = 2e-2;
  c.train.batch_tokens = 48;
  EXPECT_EQ(refusal(c), start +
                            "is of a run with another train.batch_tokens (there 96, here 48), optim.lr (there "
                            "0.01, here 0.02); a branch must have been the same run up to there: set the trunk's "
                            "value, or leave out branch_from");
  c = branch();
  c.optim.cooldown_steps = 5;
  EXPECT_NE(refusal(c).find(start + "is of step 9, and the learning rate of step 9 was another (0.01, here 0.008"),
            std::string::npos)
      << refusal(c);
  c = branch();
  c.optim.warmup_steps = 3;
  EXPECT_NE(refusal(c).find("the learning rate of step 2 was another"), std::string::npos) << refusal(c);
  c = branch(9);
  c.optim.decay_steps = 12;
  EXPECT_NE(refusal(c).find("is of step 9, and this run ends after 9"), std::string::npos) << refusal(c);
  c = branch();
  c.branch_from = (scratch_ / "trunk").string();
  EXPECT_NE(refusal(c), "");
  c.branch_from = (scratch_ / "trunk/checkpoints/step_00000008").string();
  EXPECT_NE(refusal(c).find("is no checkpoint folder; name one, such as RUN/checkpoints/step_00001000"),
            std::string::npos)
      << refusal(c);
  EXPECT_FALSE(fs::exists(scratch_ / "branch/config.yaml"));
  c = branch();
  c.init_from = (scratch_ / "trunk").string();
  EXPECT_NE(refusal(c).find("another init_from"), std::string::npos) << refusal(c);
  c = trunk();
  c.checkpoint.keep_steps = {9, 21};
  EXPECT_NE(refusal(c).find("checkpoint.keep_steps has step 21, and the run ends after 20"), std::string::npos);
}

// What changes no number may be otherwise, and the log says so.
TEST_F(BranchTest, LoggingMayDiffer) {
  run(trunk());
  RunConfig c = branch();
  c.train.log_every = 5;
  c.train.eval_every = 2;
  EXPECT_EQ(refusal(c), "");
  const std::string log = read_file(fs::path(c.output_dir) / "train.log");
  EXPECT_NE(log.find("train.log_every was 1, now 5: no effect on the model"), std::string::npos) << log;
  EXPECT_NE(log.find("train.steps was 20, now 12: no rate before this step is another for it"), std::string::npos)
      << log;
}

}  // namespace
}  // namespace ttt
