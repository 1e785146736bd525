// ttt train CONFIG.yaml [key=value ...]
#include <iostream>

#include "cli/command.h"
#include "cli/parse.h"
#include "config/fields.h"
#include "config/load.h"
#include "train/trainer.h"

namespace ttt {
namespace {

// The keys of a config, from their one declaration.
std::string keys_help() {
  RunConfig config;
  std::string text = "Keys of a config, their defaults and meaning:\n";
  for (const Field& field : fields_of(config)) {
    std::string declared = cat("  ", field.key, "  [", field.type, "]");
    if (declared.size() < 46) declared.resize(46, ' ');
    const std::string value = field.get();
    text += cat(declared, "  ", field.help, field.unit.empty() ? "" : cat(" (", field.unit, ")"),
                value.empty() || field.help.find("default") != std::string::npos ? "" : cat("; default ", value), "\n");
  }
  return text;
}

}  // namespace

ExitCode run_train(const std::vector<std::string>& args) {
  CLI::App app(
      "Trains a model from a config, or resumes it: the same command goes on from the newest checkpoint in "
      "output_dir.\n"
      "Metrics go to output_dir/metrics.jsonl. SIGTERM and Ctrl-C save and exit with 75.",
      "ttt train");
  std::string file;
  std::vector<std::string> overrides;
  TrainerOptions options;
  app.add_option("config", file, "the config file (YAML)")->required()->option_text("CONFIG.yaml");
  app.add_option("overrides", overrides, "keys set on the command line, e.g. train.steps=100")
      ->option_text("[key=value ...]");
  app.add_flag("--quiet", options.quiet, "only warnings and errors on stderr");
  app.footer(keys_help);
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  return Trainer(load_run_config(file, overrides), options).run();
}

}  // namespace ttt
