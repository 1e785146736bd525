// ttt train CONFIG.yaml [key=value ...]
#include <algorithm>
#include <iostream>

#include "base/signals.h"
#include "base/timer.h"
#include "cli/command.h"
#include "cli/help_config.h"
#include "cli/parse.h"
#include "config/load.h"
#include "train/data_parallel.h"
#include "train/summary.h"
#include "train/trainer.h"

namespace ttt {

ExitCode run_train(const std::vector<std::string>& args) {
  CLI::App app(
      "Trains a model from a config, or resumes it: the same command goes on from the newest checkpoint in "
      "output_dir.\n"
      "Metrics go to output_dir/metrics.jsonl. SIGTERM, Ctrl-C and a closed terminal save and exit with 75.\n"
      "Started as several processes by torchrun, srun, mpirun or Kubernetes' PyTorchJob, they train together.\n"
      "`ttt plan CONFIG.yaml` says beforehand what it costs, `ttt config CONFIG.yaml` what its values are.",
      "ttt train");
  std::string file;
  std::vector<std::string> overrides;
  TrainerOptions options;
  bool json = false, unchecked = false;
  add_config_arguments(app, file, overrides, /*partial=*/false);
  app.add_flag("--quiet", options.quiet, "only warnings and errors on stderr");
  app.add_flag("--no-self-check", unchecked, "use a GPU's kernels without the self-check (train.self_check: false)");
  bool help_config = false;
  app.add_flag("--help-config", help_config, "print every key of a config: type, default, unit, meaning");
  app.add_flag("--json", json, "print one JSON object at the end (with --help-config: the keys as JSON)");
  if (std::find(args.begin(), args.end(), "--help-config") != args.end()) {  // needs no config
    if (std::find(args.begin(), args.end(), "--json") != args.end()) {
      std::cout << to_line(config_keys_json());
    } else {
      std::cout << config_keys_text();
    }
    return ExitCode::kOk;
  }
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  outlive_readers();
  if (unchecked) overrides.push_back("train.self_check=false");
  const RunConfig config = load_run_config(file, overrides);
  const Timer timer;
  const auto train = [&] {
    ExitCode code{};
    std::int64_t first_step = 0;
    {
      Trainer trainer(config, options);
      first_step = trainer.state().step + 1;
      code = trainer.run();
    }
    if (options.ranks != nullptr) options.ranks->finish();
    const bool writes = options.ranks == nullptr || options.ranks->is_first();
    if (json && writes) std::cout << to_line(run_summary(config, code, first_step, timer.seconds())) << std::flush;
    return code;
  };
  const std::unique_ptr<Communicator> ranks = connect_ranks(config, world_from_environment());
  options.ranks = ranks.get();
  return ranks ? ranks->guarded(train) : train();
}

}  // namespace ttt
