#include "cli/eval_inner_loop.h"

#include <iostream>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "infer/inner_loop.h"

namespace ttt {

void InnerLoopArguments::add_to(CLI::App& app) {
  CLI::Option* flag = app.add_flag(
      "--inner-loop", wanted,
      "instead of the loss: by layer and mini-batch the inner loss at W0, W_t-1 and W_t, ||W_t - W0||, learning rates");
  app.add_option("--inner-loop-plot", plot, "with --inner-loop: draw the inner losses, a chart a layer, to this .svg")
      ->needs(flag);
}

ExitCode run_inner_loop(const InnerLoopArguments& arguments, const LoadedModel& loaded, const Dataset& data,
                        std::int64_t context, std::int64_t batch, std::int64_t max_samples, torch::Device device,
                        bool json) {
  const InnerLoopTable table = inner_loop_table(
      *loaded.model, data, {context, batch, max_samples, device},
      [](std::int64_t done, std::int64_t all) { show_progress(cat("eval: ", done, " of ", all, " windows")); });
  show_progress("");
  if (json) {
    Json object = to_json(table);
    object["checkpoint"] = loaded.directory.string();
    object["data"] = data.directory().string();
    std::cout << to_line(object);
  } else {
    std::cout << to_text(table);
  }
  if (!arguments.plot.empty()) write_file_atomically(arguments.plot, to_svg(table));
  return ExitCode::kOk;
}

}  // namespace ttt
