// ttt eval --adapt: the options of dynamic evaluation.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "infer/adapt.h"

namespace ttt {

struct AdaptArguments {
  std::string method, layers = "all", reset = "none";
  double lr = 0;
  std::int64_t chunk = 0;

  void add_to(CLI::App& app);
  bool wanted() const { return !method.empty(); }
  // For windows of `context` tokens. Throws UserError for a chunk that is neither part of one nor several of them.
  AdaptOptions options(std::int64_t context, std::int64_t num_layers) const;
  Json to_json(std::int64_t context) const;
};

}  // namespace ttt
