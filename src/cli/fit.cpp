// ttt fit: scaling laws from the results of runs.
#include <iostream>

#include "cli/command.h"
#include "cli/parse.h"
#include "fit/design.h"
#include "fit/figure.h"
#include "fit/parallel.h"
#include "fit/report.h"

namespace ttt {
namespace {

struct FitArguments {
  std::vector<std::string> files;
  PointColumns columns;
  FitSettings settings;
  int approach = 3;
  std::string objective = "huber";
  std::int64_t drop_highest = 0;
  std::vector<double> budgets;
  std::string baseline, plot;
  int threads = 0;
  bool json = false;
};

bool parse(const std::vector<std::string>& args, FitArguments& options) {
  CLI::App app(
      "Scaling laws, fitted to the runs.jsonl of sweeps or to CSV (a line of names first; two of N, D and C, C = 6 N "
      "D):\n"
      "  ttt fit runs/mini_scaling/runs.jsonl --plot fit.svg\n"
      "  ttt fit results.csv --n 'Model Size' --c 'Training FLOP' --loss loss\n"
      "Approach 3 fits L = E + A / N^alpha + B / D^beta for each architecture and says how many FLOPs they need for "
      "equal\n"
      "loss; 2 puts a parabola through each budget's losses; 1 takes the envelope of all points (Hoffmann et al. "
      "2022,\n"
      "arXiv 2203.15556). What the data cannot identify is not given as a number, nor is what lies ten times beyond "
      "them.",
      "ttt fit");
  app.add_option("files", options.files, "results, JSON Lines or CSV")->required()->option_text("FILE ...");
  app.add_option("--n", options.columns.n, "the column of N, parameters")->type_name("COLUMN");
  app.add_option("--d", options.columns.d, "the column of D, tokens trained on")->type_name("COLUMN");
  app.add_option("--c", options.columns.c, "the column of C, training FLOPs")->type_name("COLUMN");
  app.add_option("--loss", options.columns.loss, "the column of losses; of runs.jsonl by default valid_loss")
      ->type_name("COLUMN");
  app.add_option("--by", options.columns.by,
                 "a law for each value of this column; of runs.jsonl by default mixer and backbone")
      ->type_name("COLUMN");
  app.add_option("--parameters", options.columns.parameters, "of runs.jsonl: what N counts")
      ->check(CLI::IsMember({"total", "non_embedding"}))
      ->type_name("total|non_embedding")
      ->capture_default_str();
  app.add_option("--flops", options.columns.flops, "of runs.jsonl: the convention of C")
      ->check(CLI::IsMember({"exact", "chinchilla", "six_nd"}))
      ->type_name("exact|chinchilla|six_nd")
      ->capture_default_str();
  app.add_option("--approach", options.approach, "1 envelope, 2 IsoFLOP parabolas, 3 the law")
      ->check(CLI::IsMember({1, 2, 3}))
      ->type_name("1|2|3")
      ->capture_default_str();
  app.add_option("--objective", options.objective,
                 "of approach 3: huber (delta 1e-3 on log L, summed) or least-squares (on L)")
      ->check(CLI::IsMember({"huber", "least-squares"}))
      ->type_name("huber|least-squares")
      ->capture_default_str();
  app.add_option("--drop-highest", options.drop_highest, "leave the K highest losses out")
      ->check(non_negative_number())
      ->type_name("K");
  app.add_option("--budget", options.budgets, "FLOPs to give the best N and D for (may be repeated)")
      ->check(positive_number())
      ->type_name("C")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--baseline", options.baseline,
                 "the architecture that the others are held against; by default the first")
      ->type_name("NAME");
  app.add_option("--bootstrap", options.settings.bootstrap, "samples for the intervals; 0: none")
      ->check(CLI::Range(0, 1000000))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--level", options.settings.level, "of the intervals")
      ->check(CLI::Range(0.01, 0.999))
      ->capture_default_str();
  app.add_option("--seed", options.settings.seed, "of the bootstrap samples")->capture_default_str();
  app.add_option("--threads", options.threads, "by default as many as there are processors")->check(positive_number());
  app.add_option("--plot", options.plot, "write losses, fits and residuals as a picture")->type_name("FILE.svg");
  app.add_flag("--json", options.json, "print one JSON object");
  if (!parse_arguments(app, args)) return false;
  options.settings.objective = options.objective == "huber" ? FitObjective::kHuber : FitObjective::kLeastSquares;
  options.settings.threads = options.threads > 0 ? options.threads : available_threads();
  return true;
}

}  // namespace

ExitCode run_fit(const std::vector<std::string>& args) {
  FitArguments options;
  if (!parse(args, options)) return ExitCode::kOk;
  check_output_file("--plot", options.plot);
  PointSet set = read_points({options.files.begin(), options.files.end()}, options.columns);
  drop_highest(set, options.drop_highest);
  const std::vector<PointGroup> groups = group_points(set.points);
  if (options.approach == 3 && groups.size() == 1 && set.points.size() <= kLawParameters)
    user_error(design_mistakes(set.points).front());

  ReportContext context;
  context.files = options.files;
  context.notes = set.notes;
  context.settings = options.settings;
  context.budgets = options.budgets;
  context.baseline = options.baseline;
  std::string text;
  ChartGrid figure;
  if (options.approach == 3) {
    std::vector<LawStudy> laws;
    for (const PointGroup& group : groups) laws.push_back(study_law(group.name, group.points, options.settings));
    text = options.json ? to_line(laws_json(laws, context)) : laws_text(laws, context);
    if (!options.plot.empty()) figure = law_figure(laws);
  } else {
    std::vector<OptimumStudy> optima;
    for (const PointGroup& group : groups)
      optima.push_back(options.approach == 2 ? study_isoflop(group.name, group.points, options.settings)
                                             : study_envelope(group.name, group.points, options.settings));
    text = options.json ? to_line(optima_json(optima, context)) : optima_text(optima, context);
    if (!options.plot.empty()) figure = optimum_figure(optima);
  }
  if (!options.plot.empty()) write_file_atomically(options.plot, to_svg(figure));
  std::cout << text;
  return ExitCode::kOk;
}

}  // namespace ttt
