// How often the bootstrap intervals of a fit hold the truth: many draws of noise on the points of a known law, each
// fitted as `ttt fit` does. Not a test: minutes. Prints a line for each design and objective.
// usage: build/tests/fit_coverage [DRAWS [SAMPLES [THREADS [huber|least-squares]]]]     default: 400 draws, 400
// samples, every processor, both
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/timer.h"
#include "fit/law_study.h"
#include "fit/parallel.h"
#include "fit/synthetic.h"

namespace ttt {
namespace {

struct Count {
  const char* name;
  double (*value)(const ScalingLaw&);
  int inside = 0;
};

void measure(const char* what, FitObjective objective, const IsoflopDesign& design, int draws, int samples,
             int threads) {
  FitSettings settings;
  settings.objective = objective;
  settings.bootstrap = samples;
  std::vector<std::vector<bool>> inside(static_cast<std::size_t>(draws));
  const auto quantities =
      std::vector<Count>{{"alpha", [](const ScalingLaw& l) { return l.alpha; }},
                         {"beta", [](const ScalingLaw& l) { return l.beta; }},
                         {"E", [](const ScalingLaw& l) { return l.E; }},
                         {"N exponent", [](const ScalingLaw& l) { return l.n_exponent(); }},
                         {"N at 1e21", [](const ScalingLaw& l) { return compute_optimal(l, 1e21).n; }}};
  const Timer timer;
  std::vector<int> not_identified(static_cast<std::size_t>(draws), 0);
  for_each_index(draws, threads, [&](int draw) {
    CounterRng rng(static_cast<std::uint64_t>(draw) + 1);
    FitSettings own = settings;
    own.seed = static_cast<std::uint64_t>(draw) + 1;
    const LawStudy study = study_law("", isoflop_points(kSyntheticLaw, design, rng), own);
    const auto i = static_cast<std::size_t>(draw);
    not_identified[i] = !study.identified();
    for (const Count& count : quantities) {
      const auto interval = study.interval(count.value);
      const double truth = count.value(kSyntheticLaw);
      inside[i].push_back(interval && interval->low <= truth && truth <= interval->high);
    }
  });
  std::printf("%s, %s, %d points, noise %.4f, %d draws, %d samples: ", what,
              objective == FitObjective::kHuber ? "huber" : "least squares", design.budgets * design.sizes,
              design.noise, draws, samples);
  for (std::size_t q = 0; q < quantities.size(); ++q) {
    int count = 0;
    for (const auto& draw : inside) count += draw[q];
    std::printf("%s %.1f %%  ", quantities[q].name, 100.0 * count / draws);
  }
  int missing = 0;
  for (const int one : not_identified) missing += one;
  std::printf("(not identified %d; %.0f s)\n", missing, timer.seconds());
  std::fflush(stdout);
}

}  // namespace
}  // namespace ttt

int main(int argc, char** argv) {
  using namespace ttt;
  const int draws = argc > 1 ? std::atoi(argv[1]) : 400;
  const int samples = argc > 2 ? std::atoi(argv[2]) : 400;
  const int threads = argc > 3 ? std::atoi(argv[3]) : available_threads();
  IsoflopDesign large = {.noise = 0.003};
  IsoflopDesign small = {.budgets = 5, .sizes = 6, .high = 1e20, .noise = 0.002};
  for (const FitObjective objective : {FitObjective::kHuber, FitObjective::kLeastSquares}) {
    if (argc > 4 && (std::string(argv[4]) == "huber") != (objective == FitObjective::kHuber)) continue;
    measure("IsoFLOP", objective, large, draws, samples, threads);
    measure("small IsoFLOP", objective, small, draws, samples, threads);
  }
  return 0;
}
