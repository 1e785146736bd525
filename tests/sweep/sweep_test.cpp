// Sweep files, records, tables and Slurm scripts; and the runner with a shell script in the place of `ttt train`.
#include <gtest/gtest.h>

#include <set>

#include "config/load.h"
#include "sweep/slurm.h"
#include "sweep/sweep_fixture.h"
#include "sweep/table.h"

namespace ttt {
namespace {

TEST_F(SweepTest, AxesMakeEveryCombinationInOrder) {
  const Sweep s = sweep(R"(
base: [base.yaml, "{width}.yaml"]
set: {train: {seed: 7}, init_from: "start/{width}_{mixer}"}
axes:
  width: [narrow, wide]
  mixer:
    linear:
    mlp: {model.mixer: ttt_mlp, train: {steps: 20}}
  optim.lr: [1e-3, 0.01]
)");
  ASSERT_EQ(s.runs.size(), 8u);
  EXPECT_EQ(s.runs[0].name, "narrow_linear_lr1e-3");
  EXPECT_EQ(s.runs[1].name, "narrow_linear_lr0.01");
  EXPECT_EQ(s.runs[2].name, "narrow_mlp_lr1e-3");
  EXPECT_EQ(s.runs[7].name, "wide_mlp_lr0.01");
  for (std::size_t i = 0; i < s.runs.size(); ++i) EXPECT_EQ(s.runs[i].index, i);
  const RunConfig& last = s.runs[7].config;
  EXPECT_EQ(last.model.hidden_size, 64);
  EXPECT_TRUE(last.model.mixer == MixerKind::kTttMlp);
  EXPECT_EQ(last.train.steps, 20);
  EXPECT_EQ(last.train.seed, 7);
  EXPECT_EQ(last.optim.lr, 0.01);
  EXPECT_EQ(last.init_from, "start/wide_mlp");
  EXPECT_EQ(last.output_dir, (folder_ / "out/wide_mlp_lr0.01").string());
  EXPECT_EQ(s.runs[0].config.train.steps, 10);
}

TEST_F(SweepTest, SeveralGridsOfAxes) {
  const Sweep s = sweep(R"(
base: base.yaml
axes:
  - mixer: &mixers {a: {model.mixer: attention}, m: {model.mixer: mamba}}
    train.seed: [0, 1]
  - mixer: *mixers
    width: {narrow: {model.hidden_size: 16}}
)");
  std::vector<std::string> names;
  for (const SweepRun& run : s.runs) names.push_back(run.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a_seed0", "a_seed1", "m_seed0", "m_seed1", "a_narrow", "m_narrow"}));
  EXPECT_EQ(s.runs[5].index, 5U);
  EXPECT_EQ(s.runs[5].config.model.hidden_size, 16);
  EXPECT_EQ(s.runs[5].config.model.mixer, MixerPattern(MixerKind::kMamba));
  EXPECT_NE(error_of("base: base.yaml\naxes:\n  - {x: {a: {}}}\n  - {y: {a: {}}}\n").find("two runs have the name 'a'"),
            std::string::npos);
  EXPECT_NE(error_of("base: base.yaml\naxes: [a, b]\n").find("'axes' takes keys below it"), std::string::npos);
}

// Of tasks how many answers are right; of train.eval_inner_lr_scales the loss at each.
TEST_F(SweepTest, TablesHaveColumnsForWhatRunsMeasured) {
  const Sweep s = sweep("base: base.yaml\naxes: {train.inner_lr_scale: [0, 1]}\n");
  EXPECT_EQ(results_table(all(s)).find("accuracy"), std::string::npos);
  write("out/inner_lr_scale0/metrics.jsonl",
        R"({"kind":"valid","step":10,"loss":2.5,"perplexity":12.18,"accuracy":0.75,"answer_accuracy":0.5,"tokens":9,)"
        R"("inner_lr_scales":{"0":{"loss":2.5},"1":{"loss":2.625}}})"
        "\n");
  const std::string table = results_table(all(s));
  for (const char* text :
       {"accuracy", "answers", "loss, inner lr x 0", "loss, inner lr x 1", "0.7500", "0.5000", "2.6250"})
    EXPECT_NE(table.find(text), std::string::npos) << text << "\n" << table;
  const Json line = run_line(s.runs[0], {});
  EXPECT_EQ(line["inner_lr_scale"], 0.0);
  EXPECT_EQ(line["inner_lr_scales"]["1"]["loss"], 2.625);
  EXPECT_EQ(line["answer_accuracy"], 0.5);
  EXPECT_EQ(line["decoding_state_bytes"], make_plan(s.runs[0].config).memory.decoding_state);
  EXPECT_EQ(run_line(s.runs[1], {})["accuracy"], Json());
}

TEST_F(SweepTest, RunsByNameStandBesideTheGrid) {
  const Sweep s = sweep(
      "base: [base.yaml, '{width}.yaml']\n"
      "axes: {width: [narrow]}\n"
      "runs:\n  odd: {base: [base.yaml, wide.yaml], train.steps: 3}\n");
  ASSERT_EQ(s.runs.size(), 2u);
  EXPECT_EQ(s.runs[1].name, "odd");
  EXPECT_EQ(s.runs[1].config.model.hidden_size, 64);
  EXPECT_EQ(s.runs[1].config.train.steps, 3);
}

TEST_F(SweepTest, OverridesWinAndNameTheFolder) {
  const Sweep s = sweep("base: base.yaml\nruns: {a: {train.steps: 3}}\nslurm: {partition: gpu, time: 24:00:00}\n",
                        {"train.steps=4", "output_dir=elsewhere"});
  EXPECT_EQ(s.runs[0].config.train.steps, 4);
  EXPECT_EQ(s.runs[0].config.output_dir, "elsewhere/a");
  EXPECT_EQ(s.slurm[1], std::make_pair(std::string("time"), std::string("24:00:00")));
}

TEST_F(SweepTest, MistakesAreNamedWithTheirPlace) {
  EXPECT_EQ(error_of("bse: base.yaml\n"), "sweep.yaml:2: unknown key 'bse' of a sweep; did you mean 'base'?");
  EXPECT_EQ(error_of("base: base.yaml\n"), "sweep.yaml: a sweep needs 'axes' or 'runs'; `ttt sweep --help` shows one");
  EXPECT_EQ(error_of("base: base.yaml\nruns:\n  a: {train.stepz: 3}\n"),
            "sweep.yaml: run 'a': sweep.yaml:4: unknown key 'train.stepz'; did you mean 'train.steps'?");
  EXPECT_EQ(error_of("base: base.yaml\nruns:\n  a: {train.steps: many}\n"),
            "sweep.yaml: run 'a': sweep.yaml:4: 'train.steps' must be an integer of at least 1, not 'many'");
  EXPECT_EQ(error_of("base: '{widht}.yaml'\naxes: {width: [wide]}\n"),
            "sweep.yaml: '{widht}' names no axis of this run; did you mean '{width}'?");
  EXPECT_EQ(error_of("base: '{width}.yaml'\naxes: {width: [wyde]}\n"),
            "sweep.yaml: run 'wyde': there is no config file 'wyde.yaml'; did you mean 'wide.yaml'?");
  EXPECT_EQ(error_of("base: base.yaml\nruns: {a: , b: {train.batch_tokens: 100}}\n"),
            "sweep.yaml: run 'b': train.batch_tokens 100 is not a multiple of train.context 64; use 64 or 128");
  EXPECT_EQ(error_of("base: base.yaml\nruns: {'a/b': }\n"),
            "sweep.yaml:3: 'a/b' is no name for a run; use letters, digits, '.', '-' and '_'");
  EXPECT_EQ(error_of("base: base.yaml\naxes: {train.seed: [1, 1]}\n"),
            "sweep.yaml:3: the axis 'train.seed' has '1' twice; remove one");
  EXPECT_EQ(error_of("base: base.yaml\naxes: {width: [a-b, a b]}\n"),
            "sweep.yaml: two runs have the name 'a-b'; rename one");
  // Values that are the same to the key.
  EXPECT_EQ(error_of("base: base.yaml\naxes:\n  optim.lr: [3e-3, 1e-3, 0.001]\n"),
            "sweep.yaml:4: the axis 'optim.lr' has '0.001' and '1e-3', which are the same; remove one");
  EXPECT_EQ(error_of("base: base.yaml\naxes: {train.steps: [10, 1e1]}\n"),
            "sweep.yaml:3: the axis 'train.steps' has '1e1' and '10', which are the same; remove one");
  EXPECT_EQ(error_of("base: base.yaml\nset: {output_dir: x}\nruns: {a: }\n"),
            "sweep.yaml:3: a run's output_dir is the sweep's output_dir and the run's name");
  EXPECT_EQ(error_of("base: base.yaml\naxes: {train.seed: []}\n"), "sweep.yaml:3: the axis 'train.seed' has no values");
  EXPECT_EQ(error_of("axes: [1\n"), "sweep.yaml:3: not valid YAML: end of sequence flow not found");
  EXPECT_EQ(error_of("base: base.yaml\nruns: {a: }\n", {"steps"}),
            "command line: 'steps' is not an override; write key=value, such as train.steps=1000");
}

// A name is a folder's, and is refused before anything is trained.
TEST_F(SweepTest, NamesThatAreTooLongForAFolder) {
  const std::string axis = "base: base.yaml\naxes:\n  data.train: [short, ";
  const auto runs = [&](std::size_t length) {
    return axis + std::string(length - std::string("train").size(), 'x') + "]\n";
  };
  EXPECT_EQ(sweep(runs(255)).runs[1].name.size(), 255u);
  EXPECT_EQ(error_of(runs(256)),
            "sweep.yaml: the run 'train" + std::string(55, 'x') +
                "...' has a name of 256 bytes, and a folder's has at most 255; give the axis' values "
                "names, as in 'AXIS: {NAME: {KEY: VALUE}}'");
}

TEST_F(SweepTest, PathsOfTheEnvironment) {
  setenv("TTT_TEST_FOLDER", folder_.c_str(), 1);
  const Sweep s = read_sweep(write("paths.yaml",
                                   "base: ['${TTT_TEST_FOLDER}/base.yaml', '${TTT_TEST_FOLDER}/{width}.yaml']\n"
                                   "output_dir: ${TTT_TEST_FOLDER}/out\n"
                                   "set: {data.valid: '${TTT_TEST_FOLDER}/{width}'}\n"
                                   "axes: {width: [wide]}\n"));
  unsetenv("TTT_TEST_FOLDER");
  EXPECT_EQ(s.output_dir, folder_ / "out");
  EXPECT_EQ(s.runs[0].config.model.hidden_size, 64);
  EXPECT_EQ(s.runs[0].config.data.valid.text(), (folder_ / "wide").string());
  EXPECT_EQ(
      error_of("base: '${TTT_TEST_FOLDER}/base.yaml'\nruns: {a: }\n"),
      "sweep.yaml:2: 'base' is '${TTT_TEST_FOLDER}/base.yaml', but the environment has no TTT_TEST_FOLDER; set it "
      "(export TTT_TEST_FOLDER=...), or write the path out");
}

// Losses over different targets are not to be compared, and the tables say so.
TEST_F(SweepTest, TablesSayWhichValidationsCompare) {
  constexpr const char* kNote = "validation losses of these groups are over different targets and do not compare:\n";
  const std::string axes = "base: base.yaml\nset: {data.valid: valid}\naxes: {train.context: [32, 64]}\n";
  // Where it is not given, train.eval_samples has as many tokens at every context.
  const Sweep equal = sweep(axes);
  EXPECT_EQ(equal.runs[0].config.train.eval_samples, 4096);
  EXPECT_EQ(equal.runs[1].config.train.eval_samples, 2048);
  EXPECT_EQ(cost_table(all(equal), {}).find(kNote), std::string::npos);
  const Sweep whole =
      sweep("base: base.yaml\nset: {data.valid: valid, train.eval_samples: 0}\naxes: {train.context: [32, 64]}\n");
  EXPECT_EQ(cost_table(all(whole), {}).find(kNote), std::string::npos);
  const Sweep different =
      sweep("base: base.yaml\nset: {data.valid: valid, train.eval_samples: 10}\naxes: {train.context: [32, 64]}\n");
  const std::string table = cost_table(all(different), {});
  EXPECT_NE(table.find(
                cat(kNote, "  the first 320 tokens of valid: context32\n  the first 640 tokens of valid: context64\n")),
            table.npos)
      << table;
  const Sweep sets = sweep("base: base.yaml\naxes: {data.valid: [valid, other], train.seed: [1, 2]}\n");
  EXPECT_NE(cost_table(all(sets), {}).find("tokens of other: validother_seed1 and 1 more\n"), std::string::npos);

  // What was measured decides: a small set is scored as a whole by both.
  const auto finish = [&](std::int64_t first, std::int64_t second) {
    const std::string body =
        cat("t=", first, "; case $out in *64) t=", second,
            ";; esac\necho \"{\\\"kind\\\":\\\"valid\\\",\\\"step\\\":10,\\\"loss\\\":2.5,\\\"tokens\\\":$t}\" "
            ">\"$out/metrics.jsonl\"\n");
    fs::remove_all(folder_ / "out");
    EXPECT_EQ(run_sweep(different, all(different), {program(body), 1, false}), ExitCode::kOk);
    EXPECT_EQ(runs_file(different)[1]["valid_tokens"], second);
    return results_table(all(different));
  };
  EXPECT_EQ(finish(300, 300).find(kNote), std::string::npos);
  EXPECT_NE(finish(300, 600).find(cat(kNote, "  300 targets of valid: context32\n")), std::string::npos);
}

TEST_F(SweepTest, HashIgnoresPathsAndThreads) {
  const Sweep s = sweep("base: base.yaml\nruns: {a: , b: , c: {train.seed: 1}, d: {train.threads: 3}}\n");
  EXPECT_EQ(config_hash(s.runs[0].config), config_hash(s.runs[1].config));
  EXPECT_NE(config_hash(s.runs[0].config), config_hash(s.runs[2].config));
  EXPECT_EQ(config_hash(s.runs[0].config), config_hash(s.runs[3].config));
}

// Every experiment of the paper resolves, under a name of its own.
TEST_F(SweepTest, EveryPresetResolves) {
  std::size_t runs = 0;
  for (const fs::path& file : list_files(fs::path(TTT_SOURCE_DIR) / "configs" / "sweep")) {
    const Sweep s = read_sweep(file);
    std::set<std::string> names;
    for (const SweepRun& run : s.runs) {
      EXPECT_TRUE(names.insert(run.name).second) << run.name;
      EXPECT_GT(make_plan(run.config).parameters.total, 0) << run.name;
    }
    runs += s.runs.size();
  }
  EXPECT_GE(runs, 48u + 144u + 16u + 16u + 8u + 12u);
}

TEST_F(SweepTest, BooksKeepsHalfAMillionTokensAStep) {
  const Sweep s = read_sweep(fs::path(TTT_SOURCE_DIR) / "configs" / "sweep" / "books.yaml");
  ASSERT_EQ(s.runs.size(), 144u);
  for (const SweepRun& run : s.runs) {
    EXPECT_EQ(run.config.train.batch_tokens, 524288) << run.name;
    EXPECT_TRUE(run.name.starts_with(cat(run.config.train.context / 1024, "k_"))) << run.name;
  }
  // The files of configs/run are cells of the grids.
  const Sweep pile = read_sweep(fs::path(TTT_SOURCE_DIR) / "configs" / "sweep" / "pile.yaml");
  for (const SweepRun& run : pile.runs) {
    if (!run.name.starts_with("2k_")) continue;
    const RunConfig single =
        load_run_config(fs::path(TTT_SOURCE_DIR) / "configs" / "run" / (run.name.substr(3) + "_2k.yaml"));
    EXPECT_TRUE(diff(single, run.config).empty()) << run.name;
  }
}

// The rows of the paper's table 1 in its order, each with more of the published layer than the one above.
TEST_F(SweepTest, TheAblationHasTable1) {
  const Sweep s = read_sweep(fs::path(TTT_SOURCE_DIR) / "configs" / "sweep" / "ablation.yaml");
  ASSERT_EQ(s.runs.size(), 8u * 3u);
  const auto row = [&](std::size_t i) -> const SweepRun& { return s.runs[3 * i]; };
  const auto switches = [&](std::size_t i) { return ttt_switches(row(i).config.model); };
  EXPECT_TRUE(row(0).name.starts_with("linear_attention_"));
  EXPECT_EQ(switches(0), "model.ttt_feature_map elu, model.ttt_normalizer true, " + switches(1));
  EXPECT_EQ(switches(1),
            "model.ttt_learned_w0 false, model.ttt_norm false, model.ttt_residual false, model.ttt_bias false, "
            "model.ttt_learned_lr false");
  EXPECT_EQ(row(1).config.model, row(2).config.model);
  EXPECT_EQ("model.ttt_learned_w0 false, " + switches(3), switches(1));
  EXPECT_EQ(switches(4), "model.ttt_learned_lr false");
  EXPECT_EQ(switches(5), switches(4));
  for (const std::size_t i : {0, 1, 2, 3, 4})
    EXPECT_EQ(row(i).config.model.mini_batch_size, row(i).config.train.context);
  for (const std::size_t i : {5, 6, 7}) EXPECT_EQ(row(i).config.model.mini_batch_size, 16);
  for (const std::size_t i : {6, 7}) EXPECT_EQ(switches(i), "");
  for (std::size_t i = 0; i < 8; ++i)
    EXPECT_EQ(row(i).config.model.backbone, i == 7 ? Backbone::kMamba : Backbone::kTransformer);
  EXPECT_EQ(row(7).name.substr(0, 14), "mamba_backbone");
}

TEST_F(SweepTest, FailuresAreShownAndTriedAgainOnRequestOnly) {
  const Sweep s = sweep("base: base.yaml\naxes: {train.seed: [1, 2, 3]}\n");
  const std::string fails = "case $out in *seed2) echo line; echo 'error: no luck' >&2; exit 1;; esac\n";
  const RunnerOptions options{program(fails + kFinishes), 2, false};
  EXPECT_EQ(run_sweep(s, all(s), options), ExitCode::kFailed);
  auto lines = runs_file(s);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["status"], "finished");
  EXPECT_EQ(lines[0]["valid_loss"], 2.5);
  EXPECT_EQ(lines[0]["bits_per_byte"], 1.5);
  EXPECT_EQ(lines[0]["tokens"], 2560);
  EXPECT_EQ(lines[0]["tokens_per_second"], 1000);
  EXPECT_EQ(lines[0]["mixer"], "ttt_linear");
  EXPECT_EQ(lines[0]["mini_batch_size"], 16);
  EXPECT_GT(lines[0]["peak_memory_bytes"], 0);
  EXPECT_EQ(lines[0]["flops_exact"], training_flops(s.runs[0].config.model, 64).exact * 2560);
  EXPECT_EQ(lines[1]["status"], "failed");
  EXPECT_EQ(lines[1]["error"], "no luck");
  EXPECT_EQ(lines[1]["valid_loss"], Json());
  const std::string table = results_table(all(s));
  EXPECT_NE(table.find("2.5000"), table.npos) << table;
  EXPECT_NE(table.find("seed2: no luck"), table.npos) << table;

  // Again: nothing is started, and the failure still counts.
  EXPECT_EQ(run_sweep(s, all(s), options), ExitCode::kFailed);
  EXPECT_EQ(read_file(s.runs[0].folder() / "starts"), "x\n");
  // On request, with the cause gone.
  const RunnerOptions retry{program(kFinishes), 1, true};
  EXPECT_EQ(run_sweep(s, all(s), retry), ExitCode::kOk);
  EXPECT_EQ(runs_file(s)[1]["status"], "finished");
  EXPECT_EQ(runs_file(s)[1]["starts"], 2);
  EXPECT_EQ(read_file(s.runs[0].folder() / "starts"), "x\n");
  // A finished run whose config changed is not finished.
  const Sweep longer = sweep("base: base.yaml\nset: {train.steps: 11}\naxes: {train.seed: [1, 2, 3]}\n");
  EXPECT_TRUE(is_due(longer.runs[0], read_record(longer.runs[0]), false));
}

TEST_F(SweepTest, ARunIsTrainedAnewWhereItsConfigIsOfAnotherTraining) {
  const auto of = [&](const std::string& set) { return sweep("base: base.yaml\nset: {" + set + "}\nruns: {a: }\n"); };
  const auto run = [&](const Sweep& s) { return run_sweep(s, all(s), {program(kFinishes), 1, false}); };
  const fs::path folder = folder_ / "out/a";
  ASSERT_EQ(run(of("data.valid: one")), ExitCode::kOk);
  // What has no effect on the training: it goes on, and is finished.
  testing::internal::CaptureStderr();
  EXPECT_EQ(run(of("data.valid: two, train.log_every: 3")), ExitCode::kOk);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("its validation losses are those from before: data.valid was"),
            std::string::npos);
  EXPECT_EQ(read_file(folder / "starts"), "x\nx\n");
  // A run whose own config.yaml says another rate, whatever the sweep started it with.
  write_file_atomically(folder / "config.yaml", to_yaml(of("data.valid: two, optim.lr: 1e-4").runs[0].config));
  const Sweep other = of("data.valid: two, optim.lr: 2e-3");
  EXPECT_EQ(run(other), ExitCode::kOk);
  EXPECT_EQ(read_file(folder / "starts"), "x\n");
  EXPECT_EQ(read_file(folder_ / "out/a.replaced/starts"), "x\nx\n");
  EXPECT_EQ(runs_file(other)[0]["starts"], 1);
  EXPECT_EQ(runs_file(other)[0]["lr"], 2e-3);
  // Another number of steps is another training, too.
  EXPECT_EQ(run(of("data.valid: two, optim.lr: 2e-3, train.steps: 11")), ExitCode::kOk);
  EXPECT_TRUE(fs::exists(folder_ / "out/a.replaced.2"));
}

TEST_F(SweepTest, AnInterruptedRunIsNotAFailure) {
  const Sweep s = sweep("base: base.yaml\nruns: {a: , b: }\n");
  EXPECT_EQ(run_sweep(s, all(s), {program("exit 75\n"), 1, false}), ExitCode::kPreempted);
  EXPECT_EQ(runs_file(s)[0]["status"], "interrupted");
  EXPECT_EQ(run_sweep(s, all(s), {program(kFinishes), 1, false}), ExitCode::kOk);
  // A program that is not there.
  const Sweep other = sweep("base: base.yaml\nruns: {c: }\n");
  EXPECT_EQ(run_sweep(other, all(other), {folder_ / "none", 1, false}), ExitCode::kFailed);
  EXPECT_EQ(read_record(other.runs[0]).status, RunStatus::kFailed);
}

TEST_F(SweepTest, CostTableShowsWhatIsKnown) {
  const Sweep s = sweep("base: base.yaml\nruns: {a: , b: {train.steps: 20}}\n");
  EXPECT_NE(cost_table(all(s), {}).find("speed: unknown"), std::string::npos);
  SpeedOptions given;
  given.tokens_per_second = 256;
  std::string table = cost_table(all(s), given);
  EXPECT_NE(table.find("pending"), table.npos);
  EXPECT_NE(table.find("30 s"), table.npos) << table;  // 10 s and 20 s
  // What the finished run reached is expected of the other.
  ASSERT_EQ(run_sweep(s, {&s.runs[0]}, {program(kFinishes), 1, false}), ExitCode::kOk);
  const auto speeds = speeds_of(all(s), {});
  EXPECT_NEAR(speeds[1]->tokens_per_second, 1000, 1e-6);
  EXPECT_EQ(cost_json(all(s), {})[1]["plan"]["tokens"], 5120);
}

TEST(Slurm, ArrayRanges) {
  EXPECT_EQ(array_ranges({}), "");
  EXPECT_EQ(array_ranges({4}), "4");
  EXPECT_EQ(array_ranges({0, 1}), "0,1");
  EXPECT_EQ(array_ranges({0, 3, 5, 6, 7, 9}), "0,3,5-7,9");
}

TEST_F(SweepTest, SlurmScriptRunsOneRunATask) {
  const Sweep s = sweep("base: base.yaml\naxes: {train.seed: [1, 2, 3]}\nslurm: {gres: 'gpu:1'}\n");
  const std::string script =
      slurm_script(s, {&s.runs[0], &s.runs[2]}, {"/opt/ttt", {"train.steps=5", "data.train=it's"}, 2});
  EXPECT_EQ(script.find("#!/bin/bash\n"), 0u);
  for (const char* part : {"#SBATCH --array=0,2%2\n", "#SBATCH --gres=gpu:1\n", "'/opt/ttt' sweep ", "'train.steps=5'",
                           "'data.train=it'\\''s'", "--run \"$SLURM_ARRAY_TASK_ID\" &\n", "scontrol requeue"}) {
    EXPECT_NE(script.find(part), script.npos) << part << "\n" << script;
  }
  // The shell accepts it.
  const fs::path file = write("sweep.sbatch", script);
  EXPECT_EQ(std::system(("bash -n " + file.string()).c_str()), 0);
}

}  // namespace
}  // namespace ttt
