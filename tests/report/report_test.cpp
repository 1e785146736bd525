// Runs as a page: what is read from their folders, and what the page says of it.
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "report/answers.h"
#include "report/page.h"
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
  EXPECT_EQ(log.events[0].text, "skipped: loss null, gradient norm null, samples [4,8]");
  EXPECT_EQ(log.damaged_lines, 1);
  EXPECT_THROW(read_run_log(folder_), UserError);
}

TEST_F(ReportTest, FoldersOfASweepInItsOrder) {
  run("y", "0.001"), run("x", "0.002");
  write_file_atomically(folder_ / "runs.jsonl", "{\"name\":\"y\"}\n{\"name\":\"not begun\"}\n{\"name\":\"x\"}\n");
  EXPECT_EQ(run_folders(folder_), (std::vector<fs::path>{folder_ / "y", folder_ / "x"}));
  EXPECT_EQ(run_folders(folder_ / "x"), std::vector<fs::path>{folder_ / "x"});
  write_file_atomically(folder_ / "runs.jsonl", "{\"name\":\"not begun\"}\n");
  EXPECT_THROW(run_folders(folder_), UserError);
}

TEST_F(ReportTest, ThePageHasNumbersDifferencesCurvesAndSources) {
  const std::string page =
      report_page("A & B", {read_run_log(run("a<b", "0.001")), read_run_log(run("second", "0.002"))}, {}).page;
  for (const char* part : {"<h1>A &amp; B</h1>", "<td>a&lt;b</td>", "<td>5.125</td>", "<td>5.0625</td>",
                           "<td>3.75</td>", "<td>optim.lr</td><td>0.001</td><td>0.002</td>", "Training loss by FLOPs",
                           "skipped: loss null", "1 damaged lines left out", "</html>"})
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
