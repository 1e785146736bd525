// Branches: which runs share a trunk, in which order they run, and what happens where the trunk has no checkpoint.
#include <gtest/gtest.h>

#include "config/load.h"
#include "sweep/branches.h"
#include "sweep/sweep_fixture.h"
#include "sweep/table.h"

namespace ttt {
namespace {

// Saves the checkpoints that it is asked to keep, and writes down what it branched off from.
constexpr const char* kTrains =
    "echo x >>\"$out/starts\"\n"
    "sed -n 's/^branch_from: //p' \"$2\" >\"$out/from\"\n"
    "for step in $(sed -n 's/^  keep_steps: \\[\\(.*\\)\\]/\\1/p' \"$2\" | tr -d ,); do\n"
    "  folder=$out/checkpoints/$(printf 'step_%08d' $step); mkdir -p \"$folder\"; touch \"$folder/COMPLETE\"\n"
    "done\n"
    "echo \"{\\\"kind\\\":\\\"valid\\\",\\\"step\\\":1,\\\"loss\\\":2}\" >\"$out/metrics.jsonl\"\n";

class BranchesTest : public SweepTest {
 protected:
  static constexpr const char* kWsd =
      "base: base.yaml\nset: {optim: {schedule: wsd, warmup_steps: 5, end_lr: 0}}\nbranches: true\n";
  static std::string from(const Sweep& sweep, const std::string& name) {
    std::string text = read_file(sweep.output_dir / name / "from");
    std::erase_if(text, [](char c) { return c == '"' || c == '\n'; });
    return text;
  }
};

TEST_F(BranchesTest, RunsThatDifferInTheirLengthShareTheLongest) {
  const Sweep s = sweep(cat(kWsd, "axes: {train.seed: [1, 2], train.steps: [50, 200, 100]}\n"));
  ASSERT_EQ(s.runs.size(), 6u);
  EXPECT_FALSE(s.runs[1].branch);
  EXPECT_EQ(s.runs[1].config.checkpoint.keep_steps, (std::vector<std::int64_t>{40, 80}));
  EXPECT_EQ(s.runs[0].branch->trunk, 1u);
  EXPECT_EQ(s.runs[0].branch->step, 40);  // a fifth is the cooldown
  EXPECT_EQ(s.runs[5].branch->trunk, 4u);
  EXPECT_EQ(s.runs[5].branch->step, 80);
  EXPECT_TRUE(s.runs[0].config.branch_from.empty());
  const Json line = run_line(s.runs[0], {});
  EXPECT_EQ(line["branch"], (Json{{"trunk", "seed1_steps200"}, {"step", 40}}));
  EXPECT_EQ(line["tokens"], 50 * 256);
  // Costs are of what is trained: 10, 200 and 20 steps, twice; alone a branch costs all of it.
  const std::string table = cost_table(all(s), {});
  EXPECT_NE(table.find(" 118k "), std::string::npos) << table;
  EXPECT_NE(table.find("Of branches: what is trained beyond their trunks."), std::string::npos);
  EXPECT_EQ(cost_table({&s.runs[0]}, {}).find("Of branches"), std::string::npos);
  // What a branch begins with, and what is kept for others, is no other training.
  RunConfig other = s.runs[0].config;
  other.branch_from = "x";
  other.checkpoint.keep_steps = {3};
  EXPECT_EQ(config_hash(other), config_hash(s.runs[0].config));

  // A ladder of two sizes has two trunks.
  const Sweep ladder = sweep(cat(kWsd,
                                 "ladder: {tokens_per_parameter: [1, 2, 4], sizes: {a: {}, b: {model.hidden_size: 64}}}"
                                 "\n"));
  EXPECT_EQ(ladder.runs[0].branch->trunk_name, "a_tpp4");
  EXPECT_EQ(ladder.runs[4].branch->trunk_name, "b_tpp4");
}

TEST_F(BranchesTest, BranchesWaitForTheirTrunk) {
  const Sweep s = sweep(cat(kWsd, "axes: {train.steps: [50, 100, 200]}\n"));
  EXPECT_EQ(run_sweep(s, all(s), {program(kTrains), 1, false}), ExitCode::kOk);
  EXPECT_EQ(from(s, "steps200"), "");
  EXPECT_EQ(from(s, "steps50"), (folder_ / "out/steps200/checkpoints/step_00000040").string());
  EXPECT_EQ(from(s, "steps100"), (folder_ / "out/steps200/checkpoints/step_00000080").string());
  // Again: nothing to do.
  EXPECT_EQ(run_sweep(s, all(s), {program(kTrains), 1, false}), ExitCode::kOk);
  EXPECT_EQ(read_file(s.output_dir / "steps50/starts"), "x\n");
}

TEST_F(BranchesTest, AnotherTrainingHasATrunkOfItsOwn) {
  const auto at = [&](const char* rate) {
    return sweep(cat(kWsd, "axes: {train.steps: [50, 200], optim.lr: {rate: {optim.lr: ", rate, "}}}\n"));
  };
  Sweep s = at("1e-3");
  ASSERT_EQ(run_sweep(s, all(s), {program(kTrains), 1, false}), ExitCode::kOk);
  // A branch waits for the new trunk, though the old one's checkpoint is there, and its own.
  s = at("2e-3");
  const std::string counts = (folder_ / "order").string();
  EXPECT_EQ(run_sweep(s, all(s), {program(cat("echo $out >>", counts, "\n", kTrains)), 2, false}), ExitCode::kOk);
  EXPECT_EQ(read_file(counts), cat(s.runs[1].folder().string(), "\n", s.runs[0].folder().string(), "\n"));
  for (const SweepRun& run : s.runs) EXPECT_TRUE(fs::exists(run.folder().string() + ".replaced")) << run.name;
  EXPECT_NE(from(s, s.runs[0].name), "");
}

TEST_F(BranchesTest, WithoutACheckpointOfTheTrunkABranchIsTrainedWhole) {
  const Sweep s = sweep(cat(kWsd, "axes: {train.steps: [50, 100, 200]}\n"));
  EXPECT_EQ(run_sweep(s, {&s.runs[0]}, {program(kTrains), 1, false}), ExitCode::kOk);  // the trunk is not asked for
  EXPECT_EQ(from(s, "steps50"), "");
  EXPECT_EQ(run_sweep(s, {&s.runs[2]}, {program(kTrains), 1, false}), ExitCode::kOk);
  fs::remove_all(s.output_dir / "steps200/checkpoints");
  EXPECT_EQ(run_sweep(s, all(s), {program(kTrains), 1, false}), ExitCode::kOk);
  EXPECT_EQ(from(s, "steps100"), "");

  // The trunk went back to the checkpoint and leaves out what came after it.
  fs::remove_all(s.output_dir);
  EXPECT_EQ(run_sweep(s, {&s.runs[2]}, {program(kTrains), 1, false}), ExitCode::kOk);
  const auto state = [&](const char* step, const Json& json) {
    write_file_atomically(s.output_dir / "steps200/checkpoints" / step / "state.json", json.dump());
  };
  state("step_00000040", {{"cursor", 160}, {"passed_over", {{100, 104}}}});
  state("step_00000080", {{"cursor", 320}, {"passed_over", {{100, 104}, {360, 364}}}});
  EXPECT_EQ(run_sweep(s, all(s), {program(kTrains), 1, false}), ExitCode::kOk);
  EXPECT_NE(from(s, "steps50"), "");
  EXPECT_EQ(from(s, "steps100"), "");
}

TEST_F(BranchesTest, ATrunkThatFailsTakesItsBranchesWithIt) {
  const Sweep s = sweep(cat(kWsd, "axes: {train.steps: [50, 200]}\n"));
  const std::string fails = "case $out in *200) echo 'error: no luck' >&2; exit 1;; esac\n";
  EXPECT_EQ(run_sweep(s, all(s), {program(fails + kTrains), 1, false}), ExitCode::kFailed);
  EXPECT_EQ(runs_file(s)[0]["error"], "its trunk 'steps200' failed before step 40: no luck");
  EXPECT_FALSE(fs::exists(s.output_dir / "steps50/starts"));
  // Asked for alone, it is trained whole.
  EXPECT_EQ(run_sweep(s, {&s.runs[0]}, {program(kTrains), 1, true}), ExitCode::kOk);
  EXPECT_EQ(from(s, "steps50"), "");
  fs::remove_all(s.runs[0].folder());
  EXPECT_EQ(run_sweep(s, all(s), {program(kTrains), 1, true}), ExitCode::kOk);
  EXPECT_NE(from(s, "steps50"), "");
  // One that failed later leaves what they need.
  fs::remove_all(s.output_dir);
  const std::string later = "case $out in *200) echo 'error: no luck' >&2; exit 1;; esac\n";
  EXPECT_EQ(run_sweep(s, all(s), {program(kTrains + later), 1, false}), ExitCode::kFailed);
  EXPECT_EQ(runs_file(s)[0]["status"], "finished");
}

TEST_F(BranchesTest, EndsWithTheSameTableHoweverOftenItWasKilled) {
  const auto read = [&] { return sweep(cat(kWsd, "axes: {train.seed: [1, 2], train.steps: [50, 100, 200]}\n")); };
  const auto table = [&](const Sweep& s) {
    std::vector<Json> lines = runs_file(s);
    for (Json& line : lines)
      for (const char* key : {"starts", "peak_memory_bytes"}) line.erase(key);
    return lines;
  };
  const Sweep straight = read();
  ASSERT_EQ(run_sweep(straight, all(straight), {program(kTrains), 1, false}), ExitCode::kOk);
  const std::vector<Json> expected = table(straight);
  fs::remove_all(straight.output_dir);
  const std::string count = (folder_ / "count").string();
  const std::string killed = cat("n=$(cat ", count, " 2>/dev/null || echo 0); n=$((n + 1)); echo $n >", count, "\n",
                                 "[ $((n % 3)) != 1 ] || exit 75\n", kTrains, "[ $((n % 3)) != 2 ] || exit 75\n");
  int sweeps = 0;
  for (ExitCode code = ExitCode::kPreempted; code != ExitCode::kOk && sweeps < 50; ++sweeps) {
    const Sweep s = read();
    code = run_sweep(s, all(s), {program(killed), 2, false});
  }
  EXPECT_GT(sweeps, 2);
  EXPECT_EQ(table(read()), expected);
}

TEST_F(BranchesTest, MistakesAreNamed) {
  EXPECT_EQ(error_of(cat(kWsd, "axes: {train.seed: [1, 2]}\n")),
            "sweep.yaml:4: branches: true finds no two runs that differ in train.steps alone; give lengths");
  EXPECT_EQ(error_of("base: base.yaml\nbranches: true\naxes: {train.steps: [50, 100]}\n"),
            "sweep.yaml:3: branches want optim.schedule: wsd; with 'steps50' (cosine) runs of several lengths have "
            "another learning rate from the start and share no trunk");
  EXPECT_EQ(
      error_of("base: base.yaml\nset: {optim.schedule: wsd}\nbranches: true\naxes: {train.steps: [50, 100]}\n"),
      "sweep.yaml:4: branches share a warm-up, and 'steps50' has optim.warmup_steps 5 where 'steps100' has 10 (by "
      "default a tenth of the run); give optim.warmup_steps");
  EXPECT_EQ(error_of(cat(kWsd, "axes: {train.steps: [50, 100], optim.decay_steps: [100]}\n")),
            "sweep.yaml:4: branches decay at their own end, and 'steps50_decay_steps100' has optim.decay_steps 100; "
            "leave it out");
  EXPECT_EQ(error_of("base: base.yaml\nbranches: maybe\nruns: {a: }\n"),
            "sweep.yaml:3: 'branches' must be true or false, not 'maybe'");
}

}  // namespace
}  // namespace ttt
