// ttt eval --inner-loop: what the inner loops do along the context, instead of the loss.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "cli/command.h"
#include "data/dataset.h"
#include "infer/load_model.h"

namespace ttt {

struct InnerLoopArguments {
  bool wanted = false;
  std::string plot;  // a path, or ""

  void add_to(CLI::App& app);
};

// Prints the table (one JSON object with `json`) and writes the plot.
ExitCode run_inner_loop(const InnerLoopArguments& arguments, const LoadedModel& loaded, const Dataset& data,
                        std::int64_t context, std::int64_t batch, std::int64_t max_samples, torch::Device device,
                        bool json);

}  // namespace ttt
