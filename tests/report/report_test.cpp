// Runs as a page: what is read from their folders, and what the page says of it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "report/answers.h"
#include "report/inputs.h"
#include "report/page.h"
#include "report/seeds.h"
#include "support/user_error.h"

namespace ttt {
namespace {

class ReportTest : public testing::Test {
 protected:
  ReportTest() : folder_(fs::temp_directory_path() / cat("ttt_report_test_", getpid())) {
    fs::create_directories(folder_);
  }
  ~ReportTest() override { fs::remove_all(folder_); }

  fs::path run(const std::string& name, const std::string& lr) {
    const fs::path path = folder_ / name;
    fs::create_directories(path);
    write_file_atomically(path / "config.yaml",
                          "model: {mixer: attention, vocab_size: 512, hidden_size: 32, num_layers: 2, num_heads: 2, "
                          "intermediate_size: 64}\n"
                          "data: {train: tokens}\ntrain: {context: 64, batch_tokens: 256, steps: 10}\noptim: {lr: " +
                              lr + "}\noutput_dir: " + path.string() + "\n");
    write_file_atomically(
        path / "metrics.jsonl",
        R"({"kind":"train","step":1,"loss":6.25,"grad_norm":0.5,"lr":0.0,"tokens":256,"seconds":0.5,"tokens_per_second":512})"
        "\n"
        R"({"kind":"skipped","step":2,"loss":null,"grad_norm":null,"samples":[4,8],"skipped":1})"
        "\n"
        R"({"kind":"train","step":3,"loss":5.125,"grad_norm":0.4,"lr":0.001,"tokens":768,"seconds":0.25,"tokens_per_second":1024})"
        "\n"
        R"({"kind":"valid","step":3,"loss":5.0625,"perplexity":158,"bits_per_byte":3.75,"tokens":512})"
        "\n"
        R"({"kind":"train","step":4,"lo)");
    return path;
  }
  // A finished run's line of runs.jsonl.
  static std::string result(const std::string& name, const std::string& mixer, double n, double d, double loss,
                            int seed) {
    return to_line({{"name", name},
                    {"status", "finished"},
                    {"mixer", mixer},
                    {"backbone", nullptr},
                    {"parameters", n},
                    {"tokens", d},
                    {"flops_exact", 6 * n * d},
                    {"valid_loss", loss},
                    {"seed", seed}});
  }
  static const Figure* figure(const Report& report, const std::string& name) {
    const auto found = std::find_if(report.figures.begin(), report.figures.end(),
                                    [&](const Figure& candidate) { return candidate.name == name; });
    return found == report.figures.end() ? nullptr : &*found;
  }
  static void expect_parts(const std::string& page, const std::vector<std::string>& parts) {
    for (const std::string& part : parts) EXPECT_NE(page.find(part), std::string::npos) << part << "\n" << page;
  }
  fs::path folder_;
};

TEST_F(ReportTest, RunsAreReadFromTheirFolders) {
  const RunLog log = read_run_log(run("a<b", "0.001"));
  EXPECT_EQ(log.name, "a<b");
  ASSERT_EQ(log.train.size(), 2u);
  EXPECT_EQ(log.train[1].seconds, 0.75);
  EXPECT_EQ(log.train[1].tokens, 768);
  ASSERT_EQ(log.valid.size(), 1u);
  EXPECT_EQ(log.valid[0].tokens, 768);
  EXPECT_EQ(log.valid[0].bits_per_byte, 3.75);
  ASSERT_EQ(log.events.size(), 1u);
  EXPECT_EQ(log.events[0].step, 2);
  EXPECT_EQ(log.events[0].what, "skipped, with samples [4,8]");
  EXPECT_EQ(log.events[0].why, "loss null, gradient norm null");
  EXPECT_EQ(log.damaged_lines, 1);
  EXPECT_THROW(read_run_log(folder_), UserError);
}

TEST_F(ReportTest, FoldersOfASweepInItsOrder) {
  run("y", "0.001"), run("x", "0.002");
  write_file_atomically(folder_ / "runs.jsonl", "{\"name\":\"y\"}\n{\"name\":\"not begun\"}\n{\"name\":\"x\"}\n");
  EXPECT_EQ(run_folders(folder_), (std::vector<fs::path>{folder_ / "y", folder_ / "x"}));
  EXPECT_EQ(run_folders(folder_ / "x"), std::vector<fs::path>{folder_ / "x"});
  write_file_atomically(folder_ / "runs.jsonl", "{\"name\":\"not begun\"}\n");
  EXPECT_TRUE(run_folders(folder_).empty());
}

TEST_F(ReportTest, ThePageHasNumbersDifferencesCurvesAndSources) {
  const std::string page =
      report_page("A & B", {read_run_log(run("a<b", "0.001")), read_run_log(run("second", "0.002"))}, {}).page;
  for (const char* part : {"<h1>A &amp; B</h1>", "<td>a&lt;b</td>", "<td>5.125</td>", "<td>5.0625</td>",
                           "<td>3.75</td>", "<td>optim.lr</td><td>0.001</td><td>0.002</td>", "Training loss by FLOPs",
                           "loss null, gradient norm null", "1 damaged lines left out", "</html>"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  EXPECT_EQ(page.find("a<b"), std::string::npos);
  EXPECT_EQ(page.find("<td>output_dir"), std::string::npos);
  for (const char* outside : {"<script", "<link", "src=", "@import"}) EXPECT_EQ(page.find(outside), std::string::npos);
}

// A results file stands for runs that are not at hand: its lines, and accuracy by state with a point a size.
TEST_F(ReportTest, AnswersOfAResultsFile) {
  const auto line = [](const char* name, const char* mixer, int bytes, double accuracy) {
    return to_line({{"name", name},
                    {"status", "finished"},
                    {"mixer", mixer},
                    {"valid_data", "tasks/mqar/valid"},
                    {"decoding_state_bytes", bytes},
                    {"accuracy", accuracy},
                    {"answer_accuracy", accuracy}});
  };
  write_file_atomically(folder_ / "tasks.jsonl", line("a0", "attention", 512, 1.0) + line("a1", "attention", 512, 0.5) +
                                                     line("m<0", "mamba", 256, 0.25) +
                                                     line("a2", "attention", 1024, 1.0) +
                                                     "{\"name\":\"a3\",\"status\":\"failed\",\"accuracy\":0.1}\n" +
                                                     "{\"name\":\"other\",\"valid_loss\":2.5}\n");
  const Report report = report_page("Tasks", {}, {read_results_file(folder_ / "tasks.jsonl")});
  for (const char* part : {"<h2>Answers</h2>", "<td>83.3 % (50 % to 100 %)</td><td>25 %</td>", "<td>m&lt;0</td>",
                           "Accuracy by state on tasks/mqar/valid", "<td>other</td>", "<td>2.5</td>",
                           "Left out: 1 run that is not finished."})
    EXPECT_NE(report.page.find(part), std::string::npos) << part << "\n" << report.page;
  EXPECT_EQ(report.page.find("<h2>Curves"), std::string::npos);
  ASSERT_EQ(report.figures.size(), 1U);
  EXPECT_EQ(report.figures[0].name, "state_tasks_mqar_valid");
  EXPECT_EQ(to_csv(report.figures[0].chart),
            "series,x,y,low,high\nattention,512,0.75,0.5,1\nattention,1024,1,1,1\nmamba,256,0.25,0.25,0.25\n");
  // Of several rates the one whose mean is highest, for each size by itself.
  const auto run = [](double lr, double bytes, double accuracy) {
    return AnswerRun{"", "mamba", "set", lr, bytes, accuracy};
  };
  const std::vector<AnswerRun> best =
      at_best_rates({run(0.01, 64, 0.9), run(0.01, 64, 0.1), run(0.003, 64, 0.6), run(0.01, 128, 0.2)});
  ASSERT_EQ(best.size(), 2U);
  EXPECT_EQ(best[0].accuracy, 0.6);
  EXPECT_EQ(best[1].accuracy, 0.2);
  write_file_atomically(folder_ / "tasks.jsonl", "[1]\n");
  EXPECT_NE(
      user_error_of(folder_, [&] { read_results_file(folder_ / "tasks.jsonl"); }).find("line 1 is no JSON object"),
      std::string::npos);
  write_file_atomically(folder_ / "tasks.jsonl", "{\"kind\":\"valid\",\"accuracy\":1}\n");
  EXPECT_NE(user_error_of(folder_, [&] { read_results_file(folder_ / "tasks.jsonl"); }).find("line 1 names no run"),
            std::string::npos);
}

TEST_F(ReportTest, FailuresAndResumes) {
  const fs::path path = run("live", "0.001");
  write_file_atomically(
      path / "train.log",
      "2026-01-02 03:04:05.678 info stopped by SIGTERM after step 2, which is saved; the same command goes on\n"
      "2026-01-02 03:04:06.678 info resuming from 'live/checkpoints/step_00000002' at step 2\n"
      "2026-01-02 03:04:07.678 warning step 3 has a loss of nan: the run goes back to 'x' (1 of at most 2 times)\n"
      "2026-01-02 03:04:07.679 info resuming from 'x' at step 2\n"
      "2026-01-02 03:04:08.678 error nothing was heard of rank 1\n"
      "cut");
  write_file_atomically(path / "sweep.json", R"({"status":"failed","error":"it <died>","starts":2})");
  const RunLog log = read_run_log(path);
  // train.log's last word is what the sweep saw of it.
  ASSERT_EQ(log.events.size(), 4u);
  const EventKind kinds[] = {EventKind::kSkipped, EventKind::kStopped, EventKind::kResumed, EventKind::kFailed};
  const std::int64_t steps[] = {2, 2, 2, -1};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(log.events[i].kind, kinds[i]) << i;
    EXPECT_EQ(log.events[i].step, steps[i]) << i;
  }
  EXPECT_EQ(log.events[3].file, "train.log");
  const fs::path killed = run("killed", "0.002");
  write_file_atomically(killed / "sweep.json", R"({"status":"failed","error":"it <died>","starts":1})");
  const RunLog other = read_run_log(killed);
  ASSERT_EQ(other.events.size(), 2u);
  EXPECT_EQ(other.events[1].file, "sweep.json");
  EXPECT_EQ(other.events[1].step, 3);
  // A run of the sweep that failed before its first step has a line alone.
  ResultsFile file;
  file.path = folder_ / "runs.jsonl";
  file.of_folder = true;
  write_file_atomically(file.path,
                        to_line({{"name", "live"}, {"status", "failed"}, {"error", "it <died>"}}) +
                            to_line({{"name", "unborn"}, {"status", "failed"}, {"error", "no data"}, {"starts", 1}}));
  file.lines = read_results_file(file.path).lines;
  const std::string page = report_page("Events", {log, other, read_run_log(run("bare", "0.1"))}, {file}).page;
  expect_parts(page, {"<td>live</td><td>failed</td><td>1</td><td>0</td><td>1</td><td>1</td><td>1</td><td>2</td>",
                      "<td>bare</td><td>not finished</td><td>1</td><td>0</td><td>-</td><td>-</td><td>-</td><td>-</td>",
                      "<td>all</td><td></td><td>3</td><td>0</td><td>1</td><td>1</td><td>3</td>", "it &lt;died&gt;",
                      "<td>unborn</td><td>-</td><td>failed</td><td>no data</td><td>runs.jsonl</td>",
                      "without a train.log: killed, bare.", "live/train.log"});
}

TEST_F(ReportTest, LossAgainstFlopsAndParameters) {
  write_file_atomically(folder_ / "few.jsonl",
                        result("a_seed0", "attention", 100, 10, 2, 0) + result("a_seed1", "attention", 100, 10, 3, 1) +
                            result("b", "attention", 200, 20, 2, 0) + result("slow", "attention", 200, 20, 4, 0));
  Report report = report_page("Few", {}, {read_results_file(folder_ / "few.jsonl")});
  const Figure* by_parameters = figure(report, "valid_loss_by_parameters");
  ASSERT_NE(by_parameters, nullptr);
  EXPECT_EQ(to_csv(by_parameters->chart),
            "series,x,y,low,high\nattention,100,2.5,2,3\nattention,200,2,2,2\n\"attention, others\",200,4,,\n");
  const Figure* by_flops = figure(report, "perplexity_by_training_flops");
  ASSERT_NE(by_flops, nullptr);
  EXPECT_EQ(by_flops->chart.series[0].x, (std::vector<double>{6000, 24000}));
  EXPECT_EQ(by_flops->chart.series[0].y[1], std::exp(2.0));
  expect_parts(report.page, {"not identified", "at least six are needed", "few.jsonl"});

  // A grid that identifies the law of one mixer, and not of the other.
  std::string lines;
  for (int i = 0; i < 6; ++i) {
    for (int j = 0; j < 6; ++j) {
      const double n = 1e6 * std::pow(2, i), d = 2e7 * std::pow(2, j);
      const double loss = 1.5 + 400 / std::pow(n, 0.34) + 900 / std::pow(d, 0.34);
      lines += result(cat("t", i, j), "ttt_linear", n, d, loss, 0);
      if (i == 0 && j < 2) lines += result(cat("m", j), "mamba", n, d, loss, 0);
    }
  }
  write_file_atomically(folder_ / "grid.jsonl", lines);
  const std::vector<ResultsFile> grid = {read_results_file(folder_ / "grid.jsonl")};
  LawMemory memory;
  report = report_page("Grid", {}, grid, memory);
  expect_parts(report.page, {"L = E + A / N^alpha + B / D^beta", "mamba: 2 points", "not identified",
                             "ttt_linear, compute-optimal by the fit", "--bootstrap 200"});
  EXPECT_EQ(memory.studies.size(), 2u);
  EXPECT_EQ(report_page("Grid", {}, grid, memory).page, report.page);
  EXPECT_EQ(memory.studies.size(), 2u);

  // What cannot be shown is said.
  write_file_atomically(folder_ / "one.jsonl", result("a", "mamba", 100, 10, 2, 0));
  write_file_atomically(folder_ / "none.jsonl", "{\"name\":\"b\",\"status\":\"running\"}\n");
  report =
      report_page("None", {}, {read_results_file(folder_ / "one.jsonl"), read_results_file(folder_ / "none.jsonl")});
  expect_parts(report.page, {"one.jsonl have the same parameters and FLOPs", "none.jsonl has no finished run with"});
  EXPECT_TRUE(report.figures.empty());
}

TEST_F(ReportTest, SpreadOverSeeds) {
  EXPECT_EQ(name_without_seed("mamba_seed1_wide", 1), "mamba_wide");
  EXPECT_EQ(name_without_seed("seed0_x", 0), "x");
  EXPECT_EQ(name_without_seed("seed0", 0), "all");
  EXPECT_EQ(name_without_seed("a_seed12", 1), "a_seed12");
  std::string lines;
  for (int seed = 0; seed < 3; ++seed) {
    lines += result(cat("base_seed", seed), "mamba", 100, 10, 2.0 + 0.1 * seed, seed);
    lines += result(cat("near_seed", seed), "mamba", 100, 10, 2.05 + 0.1 * seed, seed);
    lines += result(cat("far_seed", seed), "mamba", 100, 10, 3.0 + 0.1 * seed, seed);
  }
  lines += result("single", "mamba", 100, 10, 2.5, 0);
  write_file_atomically(folder_ / "seeds.jsonl", lines);
  expect_parts(
      seeds_section({}, {read_results_file(folder_ / "seeds.jsonl")}),
      {"<td>base</td><td>-</td><td>3</td><td>2.1 ± 0.1</td>", "<td>+0.05</td><td>smaller than the seeds' spread",
       "<td>+1</td><td>larger than the seeds' spread", "<td>single</td><td>-</td><td>1</td><td>2.5</td>",
       "<td>+0.4</td><td>one seed, of unknown spread", "seeds.jsonl"});

  // Of runs without a sweep their configs tell.
  std::vector<RunLog> runs(3);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    runs[i].name = cat("r_seed", i);
    runs[i].config.train.steps = 1;
    runs[i].config.train.seed = static_cast<std::int64_t>(i);
    runs[i].config.output_dir = runs[i].name;
    runs[i].train.emplace_back();
    runs[i].train.back().step = 1;
    runs[i].valid.emplace_back();
    runs[i].valid.back().step = 1;
    runs[i].valid.back().loss = 2 + static_cast<double>(i);
  }
  runs[2].config.optim.lr = 0.5;
  expect_parts(seeds_section(runs, {}),
               {"<td>r</td><td>-</td><td>2</td><td>2.5 ± 0.71</td>", "<td>r</td><td>-</td><td>1</td><td>4</td>"});
  runs[1].config.optim.lr = 0.25;
  expect_parts(seeds_section(runs, {}), {"No two finished runs"});
}

TEST_F(ReportTest, LossByPositionAndInnerLosses) {
  const fs::path path = run("p", "0.001");
  expect_parts(report_page("P", {read_run_log(path)}, {}).page, {"no line position_loss"});
  write_file_atomically(
      path / "metrics.jsonl",
      R"({"kind":"position_loss","step":2,"positions":[{"from":1,"to":1,"loss":9.0,"low":9.0,"high":9.0}]})"
      "\n"
      R"({"kind":"inner_loop","step":2,"layer":0,"loss_w0":[9.0],"loss_before":[9.0],"loss_after":[9.0]})"
      "\n"
      R"({"kind":"position_loss","step":3,"positions":[{"from":1,"to":1,"loss":6.0,"low":5.5,"high":6.5},)"
      R"({"from":2,"to":2,"loss":5.0,"low":null,"high":null}],)"
      R"("intervals":{"percent":95,"over":"documents","units":8,"resamples":200,"seed":1}})"
      "\n"
      R"({"kind":"inner_loop","step":3,"layer":1,"loss_w0":[0.5,0.5],"loss_before":[0.5,0.25],)"
      R"("loss_after":[0.25,0.125]})"
      "\n");
  const Report report = report_page("P", {read_run_log(path)}, {});
  const Figure* positions = figure(report, "loss_by_position");
  ASSERT_NE(positions, nullptr);
  EXPECT_EQ(to_csv(positions->chart), "series,x,y,low,high\n\"p, step 3\",1,6,5.5,6.5\n\"p, step 3\",2,5,5,5\n");
  EXPECT_EQ(positions->chart.note, "Bands: 95 % of 200 bootstrap samples of 8 documents.");
  const Figure* inner = figure(report, "inner_loss_p_layer_1");
  ASSERT_NE(inner, nullptr);
  EXPECT_EQ(inner->chart.series[1].x, (std::vector<double>{16, 32}));
  EXPECT_EQ(inner->chart.series[1].y, (std::vector<double>{0.5, 0.25}));
  EXPECT_EQ(figure(report, "inner_loss_p_layer_0"), nullptr);
}

// A sweep that goes on: what has begun is shown, and its runs.jsonl says when all is over.
TEST_F(ReportTest, InputsOfASweepThatGoesOn) {
  run("y", "0.001");
  const fs::path runs = folder_ / "runs.jsonl";
  write_file_atomically(runs, "{\"name\":\"y\",\"status\":\"running\"}\n{\"name\":\"z\",\"status\":\"pending\"}\n");
  const std::vector<std::string> paths = {folder_.string()};
  const ReportInput input = read_report_input(paths);
  ASSERT_EQ(input.runs.size(), 1u);
  ASSERT_EQ(input.results.size(), 1u);
  EXPECT_TRUE(input.results[0].of_folder);
  EXPECT_TRUE(has_line_in(input.runs[0], input.results));
  EXPECT_FALSE(all_ended(input));
  EXPECT_FALSE(all_ended(read_report_input({(folder_ / "y").string()})));
  const std::string before = input_stamp(paths);
  EXPECT_EQ(input_stamp(paths), before);
  write_file_atomically(folder_ / "y" / "train.log", "x");
  EXPECT_NE(input_stamp(paths), before);
  write_file_atomically(runs, "{\"name\":\"y\",\"status\":\"finished\"}\n{\"name\":\"z\",\"status\":\"failed\"}\n");
  EXPECT_TRUE(all_ended(read_report_input(paths)));
}

// At another step an accuracy is that of another training.
TEST_F(ReportTest, AnswersOfUnfinishedRunsAreLeftOut) {
  RunLog log;
  log.name = "half";
  log.config.train.steps = 1000;
  log.valid.emplace_back();
  log.valid.back().step = 250;
  log.valid.back().accuracy = 0.5;
  EXPECT_EQ(answer_runs({log}).unfinished, 1);
  EXPECT_TRUE(answer_runs({log}).runs.empty());
}

}  // namespace
}  // namespace ttt
