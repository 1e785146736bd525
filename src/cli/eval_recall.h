// ttt eval --recall-probe: what models recall of a passage, by its distance, instead of the loss.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "infer/recall_probe.h"

namespace ttt {

struct RecallArguments {
  bool wanted = false;
  std::int64_t passage = 32;
  std::vector<std::int64_t> distances;
  std::string plot;  // a path, or ""

  void add_to(CLI::App& app);
};

// Of checkpoints by the names they were given: prints the tables (one JSON object with `json`), writes the plot.
ExitCode show_recall(const RecallArguments& arguments, const std::vector<std::pair<std::string, RecallTable>>& tables,
                     const std::string& data, bool json);

}  // namespace ttt
