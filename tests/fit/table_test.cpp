// Tables of results: CSV and JSON Lines as people and sweeps write them, and what is said of those that are wrong.
#include "fit/table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "fit/points.h"
#include "support/user_error.h"

namespace ttt {
namespace {

class FitTable : public testing::Test {
 protected:
  FitTable() : folder_(fs::temp_directory_path() / cat("ttt_fit_table_", getpid())) { fs::create_directories(folder_); }
  ~FitTable() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& content) {
    write_file_atomically(folder_ / name, content);
    return folder_ / name;
  }
  std::string error_of(const std::string& content, const PointColumns& columns = {.n = "n", .d = "d", .loss = "loss"}) {
    return user_error_of(folder_, [&] { read_points({write("t.csv", content)}, columns); });
  }

 private:
  fs::path folder_;
};

TEST_F(FitTable, CsvWithQuotesBlanksAndLineEnds) {
  const DataTable table(write("t.csv",
                              "\xef\xbb\xbf\"Model Size\", Training FLOP ,\"a \"\"b\"\", c\"\r\n"
                              "1e6 ,2.5e18,\"x\ny\"\r\n"
                              "\r\n"
                              "2000000,3e18,"));
  EXPECT_EQ(table.columns(), (std::vector<std::string>{"Model Size", "Training FLOP", "a \"b\", c"}));
  ASSERT_EQ(table.rows(), 2u);
  EXPECT_EQ(table.positive(0, 0), 1e6);
  EXPECT_EQ(table.positive(1, table.column("Training FLOP")), 3e18);
  EXPECT_EQ(table.cell(0, 2), "x\ny");
  EXPECT_EQ(table.cell(1, 2), "");
  EXPECT_EQ(table.place(1), "t.csv:5");
}

TEST_F(FitTable, OtherSeparators) {
  EXPECT_EQ(DataTable(write("t.csv", "n;d;loss\n1;2;3\n")).positive(0, 2), 3);
  EXPECT_EQ(DataTable(write("t.tsv", "n\td, or so\tloss\n1\t2\t3\n")).positive(0, 2), 3);
}

TEST_F(FitTable, MistakesNameFileLineAndColumn) {
  EXPECT_EQ(error_of("n,d,loss\n1,2,3\n1,2,abc\n"), "'t.csv', line 3, column 'loss': 'abc' is no number");
  EXPECT_EQ(error_of("n,d,loss\n1,2,\n"), "'t.csv', line 2, column 'loss': the cell is empty; a number is wanted");
  EXPECT_EQ(error_of("n,d,loss\n1,-2,3\n"),
            "'t.csv', line 2, column 'd': -2 is not above zero, and its logarithm is needed");
  EXPECT_EQ(error_of("n,d,loss\n1,2,3x\n"), "'t.csv', line 2, column 'loss': '3x' is no number");
  EXPECT_EQ(error_of("n,d,loss\n1,2,nan\n"),
            "'t.csv', line 2, column 'loss': nan is not above zero, and its logarithm is needed");
  EXPECT_EQ(error_of("n,d,loss\n1,2\n"), "'t.csv', line 2 has 2 cells, and the line of names has 3");
  EXPECT_EQ(error_of("n,\"d,loss\n1,2,3\n"), "'t.csv', line 1: a quote is opened and never closed");
  EXPECT_EQ(error_of("n,tokens,loss\n1,2,3\n"), "'t.csv' has no column 'd'; it has 'n', 'tokens', 'loss'");
  EXPECT_EQ(error_of("n,d,d,loss\n1,2,3,4\n"), "'t.csv' has 2 columns named 'd'; name them apart");
  EXPECT_EQ(error_of(" \n"), "'t.csv' is empty; a table of results is wanted");
  EXPECT_EQ(error_of("n,d,loss\n"), "there is no finished run in 't.csv'; a fit wants at least one of each size");
  EXPECT_EQ(error_of("{\"n\":1}\n{\"n\":\n"), "'t.csv', line 2 is no JSON object; JSON Lines have one on each line");
  EXPECT_EQ(
      error_of("n,d,loss\n1,2,3\n", {.n = "n", .loss = "loss"}),
      "'t.csv' is no runs.jsonl of a sweep: name its columns with --loss and two of --n (parameters), --d (tokens) "
      "and --c (training FLOPs); it has 'n', 'd', 'loss'");
}

TEST_F(FitTable, TwoOfThreeColumnsGiveTheThird) {
  const fs::path path = write("t.csv", "n,d,c,loss,who\n10,20,1200,3,a\n10,20,2400,2,b\n");
  EXPECT_EQ(read_points({path}, {.n = "n", .c = "c", .loss = "loss"}).points[1].d, 40);
  EXPECT_EQ(read_points({path}, {.d = "d", .c = "c", .loss = "loss"}).points[1].n, 20);
  EXPECT_EQ(read_points({path}, {.n = "n", .d = "d", .loss = "loss"}).points[1].c, 1200);
  const PointSet set = read_points({path, path}, {.n = "n", .d = "d", .c = "c", .loss = "loss", .by = "who"});
  EXPECT_EQ(set.points[1].c, 2400);
  EXPECT_EQ(flops_per_parameter_token(set.points), 9);
  const auto groups = group_points(set.points);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[1].name, "b");
  EXPECT_EQ(groups[1].points.size(), 2u);
}

TEST_F(FitTable, RunsOfASweep) {
  const fs::path path = write(
      "runs.jsonl",
      R"({"name":"a1","status":"finished","mixer":"attention","backbone":null,"parameters":100,"parameters_non_embedding":60,"tokens":2000,"flops_exact":1.3e6,"flops_chinchilla":1.25e6,"flops_six_nd":1.2e6,"valid_loss":3.5,"domains":{"web":{"loss":3.25}}})"
      "\n"
      R"({"name":"t1","status":"finished","mixer":"ttt_linear","backbone":"mamba","parameters":110,"parameters_non_embedding":70,"tokens":2000,"flops_exact":1.4e6,"flops_chinchilla":1.35e6,"flops_six_nd":1.3e6,"valid_loss":3.4,"domains":null})"
      "\n"
      R"({"name":"t2","status":"failed","mixer":"ttt_linear","parameters":110,"tokens":2000,"valid_loss":null})"
      "\n"
      R"({"name":"t3","status":"finished","mixer":"ttt_linear","parameters":110,"tokens":2000,"valid_loss":null})"
      "\n");
  const PointSet set = read_points({path}, {});
  ASSERT_EQ(set.points.size(), 2u);
  EXPECT_EQ(set.points[0].group, "attention");
  EXPECT_EQ(set.points[0].place, "a1");
  EXPECT_EQ(set.points[0].n, 100);
  EXPECT_EQ(set.points[0].c, 1.3e6);
  EXPECT_EQ(set.points[1].group, "ttt_linear/mamba");
  EXPECT_EQ(set.notes, (std::vector<std::string>{"2 runs are left out: 1 failed, 1 without a loss"}));
  const PointSet other = read_points({path}, {.parameters = "non_embedding", .flops = "chinchilla"});
  EXPECT_EQ(other.points[0].n, 60);
  EXPECT_EQ(other.points[0].c, 1.25e6);
  // Objects inside a line have columns, too; a run without one is left out.
  const PointSet web = read_points({path}, {.loss = "domains.web.loss"});
  ASSERT_EQ(web.points.size(), 1u);
  EXPECT_EQ(web.points[0].loss, 3.25);
}

// Of a search for the learning rate its best run is the point.
TEST_F(FitTable, SearchesOfASweep) {
  const auto line = [](const std::string& name, const std::string& search, const std::string& best) {
    return cat(R"({"name":")", name, R"(","status":"finished","mixer":"mamba","parameters":100,"tokens":2000,)",
               R"("flops_exact":1.3e6,"valid_loss":3.5,"search":)", search, R"(,"search_best":)", best, "}\n");
  };
  const std::string in_search = R"({"name":"a","evaluation":1})";
  const fs::path path = write("runs.jsonl", line("plain", "null", "null") + line("a1", in_search, "false") +
                                                line("a2", in_search, "true") + line("b1", in_search, "null"));
  const PointSet set = read_points({path}, {});
  ASSERT_EQ(set.points.size(), 2u);
  EXPECT_EQ(set.points[0].place, "plain");
  EXPECT_EQ(set.points[1].place, "a2");
  EXPECT_EQ(
      set.notes,
      (std::vector<std::string>{"2 runs are left out: 2 of searches for the learning rate that are not their best"}));
}

TEST_F(FitTable, HighestLossesAreDropped) {
  PointSet set =
      read_points({write("t.csv", "n,d,loss\n1,1,3\n2,2,9\n3,3,4\n4,4,8\n")}, {.n = "n", .d = "d", .loss = "loss"});
  drop_highest(set, 2);
  ASSERT_EQ(set.points.size(), 2u);
  EXPECT_EQ(set.points[0].loss, 3);
  EXPECT_EQ(set.points[1].loss, 4);
  EXPECT_EQ(set.notes.back(), "the 2 highest losses are left out, from 8 on");
  EXPECT_THROW(drop_highest(set, 2), UserError);
}

}  // namespace
}  // namespace ttt
