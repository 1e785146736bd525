// The search for a learning rate: golden section, its state from the runs that have ended, failures.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "sweep/lr_search.h"
#include "sweep/sweep_fixture.h"
#include "sweep/table.h"

namespace ttt {
namespace {

// (log10 lr - log10 1e-3)^2 + 2.
constexpr const char* kParabola =
    "lr=$(sed -n 's/^  lr: //p' \"$2\")\n"
    "echo x >>\"$out/starts\"\n"
    "awk -v lr=\"$lr\" 'BEGIN { d = (log(lr) - log(0.001)) / log(10);"
    " printf \"{\\\"kind\\\":\\\"valid\\\",\\\"step\\\":10,\\\"loss\\\":%.12g}\\n\", 2 + d * d }' "
    ">\"$out/metrics.jsonl\"\n";

class LrSearchTest : public SweepTest {
 protected:
  Sweep search(const std::string& more = "") {
    return sweep(
        "base: base.yaml\nset: {data.valid: valid}\naxes: {width: {a: {}, b: {model.hidden_size: 64}}}\n"
        "lr_search: {low: 1e-4, high: 1e-1, evaluations: 6}\n" +
        more);
  }
  // Of a sweep's runs.jsonl what does not say how often a run was started.
  static std::vector<Json> table(const Sweep& sweep) {
    std::vector<Json> lines = runs_file(sweep);
    for (Json& line : lines)
      for (const char* key : {"starts", "peak_memory_bytes", "tokens_per_second"}) line.erase(key);
    return lines;
  }
};

TEST(GoldenSection, ClosesInOnTheMinimum) {
  GoldenSection section(1e-4, 1e-2);
  ASSERT_EQ(section.rates(), 2u);
  EXPECT_DOUBLE_EQ(section.rate(0), 5.81e-4);  // 10^(-4 + 2 x 0.382)
  EXPECT_DOUBLE_EQ(section.rate(1), 1.72e-3);
  const double best = std::log(3e-3);
  for (std::size_t i = 0; i < 10; ++i) section.add_loss(std::pow(std::log(section.rate(i)) - best, 2));
  EXPECT_LT(section.low(), 3e-3);
  EXPECT_GT(section.high(), 3e-3);
  EXPECT_NEAR(std::log(section.high() / section.low()), std::log(100.0) * std::pow(0.618034, 9), 1e-4);
}

TEST(GoldenSection, WhatIsNotANumberIsInfiniteAndTheLowerOfTwoIsBetter) {
  GoldenSection a(1e-4, 1e-2), b(1e-4, 1e-2);
  a.add_loss(3), a.add_loss(std::nan(""));
  b.add_loss(std::numeric_limits<double>::infinity()), b.add_loss(std::numeric_limits<double>::infinity());
  for (const GoldenSection& section : {a, b}) {
    EXPECT_NEAR(section.low(), 1e-4, 1e-15);
    EXPECT_DOUBLE_EQ(section.rate(2), 2.97e-4);
  }
}

TEST_F(LrSearchTest, EndsWithTheSameTableHoweverOftenItWasKilled) {
  const Sweep straight = search();
  ASSERT_EQ(straight.runs.size(), 12u);
  EXPECT_EQ(straight.runs[0].name, "a_search1");
  EXPECT_TRUE(straight.runs[1].search->known);
  EXPECT_FALSE(straight.runs[2].search->known);
  EXPECT_EQ(run_line(straight.runs[2], {})["lr"], Json());
  ASSERT_EQ(run_sweep(straight, all(straight), {program(kParabola), 1, false}), ExitCode::kOk);
  const std::vector<Json> expected = table(straight);
  std::vector<double> rates;
  for (int i = 0; i < 6; ++i) rates.push_back(expected[i]["lr"]);
  EXPECT_EQ(rates, (std::vector<double>{1.4e-3, 7.15e-3, 5.11e-4, 2.61e-3, 9.52e-4, 7.51e-4}));
  int best = 0;
  for (const Json& line : expected) best += line["search_best"] == true;
  EXPECT_EQ(best, 2);
  EXPECT_EQ(expected[4]["search_best"], true);
  EXPECT_EQ(expected[4]["search"]["name"], "a");
  const Sweep again = search();
  const std::string text = searches_text(again, all(again));
  EXPECT_NE(text.find("lr search of a, 6 of 6 evaluations: best 9.52e-04 (validation loss 2.0005), between "),
            std::string::npos)
      << text;
  EXPECT_NE(results_table(all(again)).find("0.000952"), std::string::npos);

  // Every third start is killed, two at a time, also after it wrote its results.
  fs::remove_all(folder_ / "out");
  fs::remove(folder_ / "count");
  const std::string killed = cat("n=$(cat ", (folder_ / "count").string(), " 2>/dev/null || echo 0); n=$((n + 1)); ",
                                 "echo $n >", (folder_ / "count").string(), "\n", "[ $((n % 4)) != 1 ] || exit 75\n",
                                 kParabola, "[ $((n % 4)) != 3 ] || exit 75\n");
  int sweeps = 0;
  for (ExitCode code = ExitCode::kPreempted; code != ExitCode::kOk && sweeps < 50; ++sweeps) {
    const Sweep s = search();
    code = run_sweep(s, all(s), {program(killed), 2, false});
  }
  EXPECT_GT(sweeps, 3);
  EXPECT_EQ(table(search()), expected);
  EXPECT_FALSE(fs::exists(folder_ / "out/a_search3.replaced"));
}

TEST_F(LrSearchTest, FailuresCountAsInfiniteAndATryAgainSearchesAnew) {
  // Above 5e-3 it fails.
  const std::string fails =
      "lr=$(sed -n 's/^  lr: //p' \"$2\")\n"
      "awk -v lr=\"$lr\" 'BEGIN { exit lr > 0.005 }' || { echo 'error: no luck' >&2; exit 1; }\n";
  Sweep s = search();
  EXPECT_EQ(run_sweep(s, all(s), {program(fails + kParabola), 2, false}), ExitCode::kFailed);
  std::vector<Json> lines = runs_file(s);
  EXPECT_EQ(lines[1]["status"], "failed");
  EXPECT_EQ(lines[2]["lr"], 5.11e-4);
  EXPECT_EQ(lines[4]["search_best"], true);
  advance(s);
  const std::string text = searches_text(s, all(s));
  EXPECT_NE(text.find("; 1 failed or have no loss, and count as infinite"), std::string::npos) << text;

  // Where the higher rate is the better one, all that follows from the failure is searched anew.
  const std::string rising =
      "lr=$(sed -n 's/^  lr: //p' \"$2\")\n"
      "awk -v lr=\"$lr\" 'BEGIN { printf \"{\\\"kind\\\":\\\"valid\\\",\\\"step\\\":1,"
      "\\\"loss\\\":%.12g}\\n\", 1 - lr }' >\"$out/metrics.jsonl\"\n";
  EXPECT_EQ(run_sweep(s, all(s), {program(rising), 1, true}), ExitCode::kOk);
  lines = runs_file(s);
  EXPECT_EQ(lines[1]["status"], "finished");
  EXPECT_EQ(lines[2]["lr"], 1.96e-2);
  for (const Json& line : lines) EXPECT_EQ(line["status"], "finished") << line;
  EXPECT_TRUE(fs::exists(folder_ / "out/a_search3.replaced"));
  const Sweep again = search();
  EXPECT_NE(searches_text(again, all(again)).find("that is the upper end of the range, and the best may lie beyond it"),
            std::string::npos);
}

TEST_F(LrSearchTest, MistakesAreNamed) {
  const auto error = [&](const std::string& search, const std::string& more = "") {
    return error_of("base: base.yaml\nset: {data.valid: valid}\nlr_search: {" + search + "}\nruns: {a: }\n" + more);
  };
  EXPECT_EQ(error("low: 1e-4, high: 1e-2"),
            "sweep.yaml:4: lr_search has no 'evaluations'; write {low: 1e-4, high: 1e-2, evaluations: 6}");
  EXPECT_EQ(error("low: 1e-2, high: 1e-4, evaluations: 6"),
            "sweep.yaml:4: lr_search has low 1e-2 and high 1e-4; low must be below high");
  EXPECT_EQ(error("low: 1e-4, high: 1e-2, evaluations: 2"),
            "sweep.yaml:4: lr_search takes 3 to 10 evaluations, not 2; each narrows the range to 0.618 of it");
  EXPECT_EQ(error("low: 0, high: 1e-2, evaluations: 6"), "sweep.yaml:4: 'low' must be a number above 0, not '0'");
  EXPECT_EQ(error("low: 1e-4, high: 1e-2, evaluations: 6", "axes: {optim.lr: [1e-3]}\n"),
            "sweep.yaml:6: 'optim.lr' is given, and lr_search sets it; remove one of the two");
  EXPECT_EQ(error("low: 1e-4, high: 1e-2, evaluations: 6", "branches: true\n"),
            "sweep.yaml:6: branches and lr_search exclude each other: a trunk has one learning rate; search with runs "
            "of one length first");
  EXPECT_NE(error("low: 1e-6, high: 1e-2, evaluations: 6", "axes: {optim.end_lr: [1e-5]}\n").find("is above the peak"),
            std::string::npos);
  EXPECT_EQ(error_of("base: base.yaml\nlr_search: {low: 1e-4, high: 1e-2, evaluations: 6}\nruns: {a: }\n"),
            "sweep.yaml:3: lr_search judges runs by their validation loss, and 'a' has no data.valid; give it");
  // A run that needs others, alone.
  const Sweep s = search();
  EXPECT_EQ(user_error_of(folder_,
                          [&] {
                            run_sweep(s, {&s.runs[3]}, {program(kParabola), 1, false});
                          }),
            "'a_search4' gets its learning rate from 'a_search1', which has not ended and is not among the runs that "
            "were asked for; ask for both");
}

}  // namespace
}  // namespace ttt
