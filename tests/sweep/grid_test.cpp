// isoflop and ladder: steps, names, edges, what is refused, and whether the grid identifies a law.
#include <gtest/gtest.h>

#include <cmath>

#include "plan/plan.h"
#include "sweep/grid.h"
#include "sweep/sweep_fixture.h"
#include "sweep/table.h"

namespace ttt {
namespace {

class GridTest : public SweepTest {
 protected:
  static std::vector<std::string> names(const Sweep& sweep) {
    std::vector<std::string> names;
    for (const SweepRun& run : sweep.runs) names.push_back(run.name);
    return names;
  }
  static std::string edge_of(const Sweep& sweep, const std::string& name) {
    for (const SweepRun& run : sweep.runs)
      if (run.name == name) return run.cell ? edge_text(*run.cell) : "no cell";
    return "no run";
  }
};

constexpr const char* kSizes = "sizes: {d16: {model.hidden_size: 16}, d32: {}, d64: {model: {hidden_size: 64}}}";

TEST_F(GridTest, IsoflopTakesStepsFromFlopsUnderTheNamedConvention) {
  for (const std::string convention : {"six_nd", "chinchilla", "exact"}) {
    SCOPED_TRACE(convention);
    const Sweep s =
        sweep(cat("base: base.yaml\nisoflop: {budgets: [2e11, 1e12], convention: ", convention, ", ", kSizes, "}\n"));
    EXPECT_EQ(names(s), (std::vector<std::string>{"iso2e11_d16", "iso2e11_d32", "iso2e11_d64", "iso1e12_d16",
                                                  "iso1e12_d32", "iso1e12_d64"}));
    for (const SweepRun& run : s.runs) {
      const Plan plan = make_plan(run.config);
      const Flops total = plan.training.times(static_cast<double>(plan.tokens));
      const double flops = convention == "six_nd"       ? total.six_nd
                           : convention == "chinchilla" ? total.chinchilla
                                                        : total.exact;
      const double step = flops / static_cast<double>(plan.steps);
      EXPECT_LE(std::abs(flops - run.cell->budget), 0.5 * step * (1 + 1e-9)) << run.name;
      EXPECT_EQ(run.config.optim.warmup_steps, plan.steps / 10) << "what follows from the steps does";
      const Json line = run_line(run, {});
      EXPECT_EQ(line["budget"], run.cell->budget);
      EXPECT_EQ(line["budget_convention"], convention);
    }
    EXPECT_NE(s.runs[0].config.train.steps, s.runs[2].config.train.steps);
  }
}

TEST_F(GridTest, EveryCombinationOfAxesHasAGridAndSizesFillNames) {
  const Sweep s = sweep(R"(
base: [base.yaml, "{size}.yaml"]
axes:
  mixer: {a: {model.mixer: attention}, m: {model.mixer: mamba}}
isoflop: {budgets: [1e12], sizes: [narrow, wide]}
ladder: {sizes: [narrow, wide], tokens_per_parameter: [5, 20]}
)");
  EXPECT_EQ(names(s), (std::vector<std::string>{"a_iso1e12_narrow", "a_iso1e12_wide", "a_narrow_tpp5", "a_narrow_tpp20",
                                                "a_wide_tpp5", "a_wide_tpp20", "m_iso1e12_narrow", "m_iso1e12_wide",
                                                "m_narrow_tpp5", "m_narrow_tpp20", "m_wide_tpp5", "m_wide_tpp20"}));
  EXPECT_EQ(s.runs[1].config.model.hidden_size, 64);
  EXPECT_EQ(s.runs[6].config.model.mixer, MixerPattern(MixerKind::kMamba));
  for (const SweepRun& run : s.runs) {
    if (run.cell->tokens_per_parameter == 0) continue;
    const Plan plan = make_plan(run.config);
    EXPECT_NEAR(plan.tokens_per_parameter(), run.cell->tokens_per_parameter, 128.0 / plan.parameters.total) << run.name;
    EXPECT_EQ(run_line(run, {})["budget"], Json());
  }
  ASSERT_EQ(s.notes.size(), 1u);
  EXPECT_NE(s.notes[0].find("sweep.yaml:6: isoflop has 2 sizes; a parabola wants three or more"), std::string::npos)
      << s.notes[0];
}

TEST_F(GridTest, EdgesAreMarkedBeforehandAndByWhatWasMeasured) {
  // N is 17k to 92k. A law of published runs expects the smallest at one budget, the largest at the other.
  Sweep s = sweep(cat("base: base.yaml\nset: {data.valid: valid}\nisoflop: {budgets: [1e10, 1e+12], min_steps: 60, ",
                      "convention: six_nd, ", kSizes, "}\n"));
  EXPECT_NE(edge_of(s, "iso1e10_d64").find("tokens a parameter, fewer than 1"), std::string::npos)
      << edge_of(s, "iso1e10_d64");
  EXPECT_EQ(edge_of(s, "iso1e10_d16"),
            "published laws expect the lowest loss of its budget at this size or a smaller one");
  EXPECT_EQ(edge_of(s, "iso1e12_d64"),
            "published laws expect the lowest loss of its budget at this size or a larger one");
  EXPECT_EQ(edge_of(s, "iso1e12_d32"), "");
  const std::string text = plan_text(s, all(s));
  EXPECT_NE(text.find("edge: iso1e10_d16: published laws expect"), std::string::npos) << text;

  // The middle size has the lowest loss of one budget, the smallest that of the other.
  const std::string loss =
      "l=3; case $out in *1e10_d32) l=2;; *1e12_d16) l=1;; esac\n"
      "echo \"{\\\"kind\\\":\\\"valid\\\",\\\"step\\\":1,\\\"loss\\\":$l}\" >\"$out/metrics.jsonl\"\n";
  EXPECT_EQ(run_sweep(s, all(s), {program(loss), 1, false}), ExitCode::kOk);
  EXPECT_EQ(runs_file(s)[3]["edge"], "the lowest loss of its budget is at this end of the sizes; add smaller ones");
  EXPECT_EQ(runs_file(s)[5]["edge"], Json());
  advance(s);
  EXPECT_EQ(edge_of(s, "iso1e10_d16"), "");

  // The largest size fails, and the next one is at the end of what is known.
  fs::remove_all(folder_ / "out");
  const std::string fails = "case $out in *d64) echo 'error: too large' >&2; exit 1;; esac\n";
  EXPECT_EQ(run_sweep(s, all(s), {program(fails + loss), 1, false}), ExitCode::kFailed);
  EXPECT_EQ(runs_file(s)[1]["edge"], "the lowest loss of its budget is at this end of the sizes; add larger ones");
}

TEST_F(GridTest, CellsOfLessThanAStepAreLeftOutAndSaid) {
  const auto step = [&](const std::string& base) {
    const Plan plan = make_plan(sweep("base: " + base + "\nruns: {a: }\n").runs[0].config);
    return plan.training.exact * 256;
  };
  // Half a step of a size between the first and the second.
  const auto budget = static_cast<std::int64_t>(0.5 * std::sqrt(step("[base.yaml, narrow.yaml]") * step("base.yaml")));
  const Sweep s = sweep(cat("base: base.yaml\nisoflop: {budgets: [", budget, ", 1e12], ", kSizes, "}\n"));
  ASSERT_EQ(s.runs.size(), 4u);
  EXPECT_EQ(s.runs[0].name, cat("iso", budget, "_d16"));
  EXPECT_EQ(s.runs[1].name, "iso1e12_d16");
  ASSERT_EQ(s.notes.size(), 2u);
  EXPECT_EQ(s.notes[0], cat("'iso", budget, "_d32' is left out: ", budget,
                            " FLOPs would be less than half a step (train.batch_tokens is too large for it)"));
  EXPECT_NE(plan_text(s, all(s)).find(s.notes[1]), std::string::npos);
}

TEST_F(GridTest, MistakesAreNamedWithTheirPlace) {
  const std::string base = "base: base.yaml\n";
  const auto isoflop = [&](const std::string& inside) { return error_of(cat(base, "isoflop: {", inside, "}\n")); };
  EXPECT_EQ(isoflop(cat("budget: [1e12], ", kSizes)),
            "sweep.yaml:3: unknown key 'budget' of isoflop; did you mean 'budgets'?");
  EXPECT_EQ(isoflop("budgets: [1e12]"), "sweep.yaml:3: isoflop has no 'sizes'");
  EXPECT_EQ(isoflop(kSizes), "sweep.yaml:3: isoflop has no 'budgets'");
  EXPECT_EQ(isoflop(cat("budgets: 1e12, ", kSizes)),
            "sweep.yaml:3: 'budgets' must be a list of numbers, such as [1e15, 3e15]");
  EXPECT_EQ(isoflop(cat("budgets: [-1], ", kSizes)), "sweep.yaml:3: 'budgets' must be a number above 0, not '-1'");
  EXPECT_EQ(isoflop(cat("budgets: [1e12, 1000e9], ", kSizes)),
            "sweep.yaml:3: 'budgets' has '1000e9' and '1e12', which are the same; remove one");
  EXPECT_EQ(isoflop(cat("budgets: [1e12], convention: sixnd, ", kSizes)),
            "sweep.yaml:3: 'convention' must be six_nd, chinchilla or exact, not 'sixnd'; did you mean 'six_nd'?");
  EXPECT_EQ(isoflop(cat("budgets: [1e12], min_steps: 0, ", kSizes)),
            "sweep.yaml:3: 'min_steps' must be an integer of at least 1, not '0'");
  EXPECT_EQ(error_of(cat(base, "ladder: {tokens_per_parameter: [5], parameters: all, ", kSizes, "}\n")),
            "sweep.yaml:3: 'parameters' must be total or non_embedding, not 'all'");
  EXPECT_EQ(error_of(cat(base, "ladder: {tokens_per_parameter: [5], convention: exact, ", kSizes, "}\n")),
            "sweep.yaml:3: unknown key 'convention' of ladder; it has sizes, tokens_per_parameter, min_steps and "
            "parameters");
  EXPECT_EQ(error_of(cat(base, "isoflop: {budgets: [1e12], ", kSizes, "}\naxes: {size: [a]}\n")),
            "sweep.yaml:3: isoflop fills in {size}, and 'size' is an axis, too; rename that axis");
  EXPECT_EQ(error_of(cat(base, "isoflop: {budgets: [1e12], ", kSizes, "}\naxes: {budget: {low: , high: }}\n")),
            "sweep.yaml:3: isoflop fills in {budget}, and 'budget' is an axis, too; rename that axis");
  EXPECT_EQ(isoflop(cat("budgets: [1e3], ", kSizes)),
            "sweep.yaml: no run is left; 'iso1e3_d64' is left out: 1e3 FLOPs would be less than half a step "
            "(train.batch_tokens is too large for it)");
  // Steps come from one place.
  const std::string good = cat(base, "isoflop: {budgets: [1e12], ", kSizes, "}\n");
  const std::string both = "'train.steps' is given, and isoflop sets it from the budgets; remove one of the two";
  EXPECT_EQ(error_of(good + "axes: {train.steps: [10, 20]}\n"), "sweep.yaml:4: " + both);
  EXPECT_EQ(error_of(good + "set: {train: {steps: 10}}\n"), "sweep.yaml:4: " + both);
  EXPECT_EQ(error_of(good, {"train.steps=10"}), "command line: " + both);
  EXPECT_EQ(error_of(base + "ladder: {tokens_per_parameter: [5], sizes: {a: {train.steps: 9}}}\n"),
            "sweep.yaml:3: 'train.steps' is given, and ladder sets it from the tokens; remove one of the two");
}

TEST_F(GridTest, DryRunSaysWhetherTheGridIdentifiesALaw) {
  const auto text = [&](const std::string& content) {
    const Sweep s = sweep("base: base.yaml\n" + content);
    EXPECT_EQ(cost_json(all(s), {})[0]["law"].is_string(), true);
    return plan_text(s, all(s));
  };
  const std::string sizes =
      "sizes: {d16: {model.hidden_size: 16}, d32: {}, d64: {model.hidden_size: 64}, d128: {model.hidden_size: 128}}";
  EXPECT_NE(
      text(cat("ladder: {tokens_per_parameter: [20], ", sizes, "}\naxes: {train.seed: [1, 2]}\n"))
          .find("ttt_linear/mamba does not identify L = E + A/N^alpha + B/D^beta: all runs have about 20 tokens a "
                "parameter, so that N and D cannot be told apart; vary D at fixed N"),
      std::string::npos);
  EXPECT_NE(text(cat("isoflop: {budgets: [1e13], convention: six_nd, ", sizes, "}\n")).find("4 points leave nothing"),
            std::string::npos);
  const std::string good = text(cat("ladder: {tokens_per_parameter: [2, 10, 50, 250], ", sizes, "}\n"));
  EXPECT_NE(good.find("ttt_linear/mamba identifies L = "), std::string::npos) << good;
  // Without a grid, and with fewer than three sizes, nothing is said.
  const Sweep plain = sweep("base: base.yaml\naxes: {train.seed: [1, 2]}\n");
  EXPECT_EQ(plan_text(plain, all(plain)), "");
}

}  // namespace
}  // namespace ttt
