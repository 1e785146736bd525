// Grids for scaling laws: sizes at equal FLOPs, or at equal tokens per parameter.
//
//     isoflop:
//       budgets: [1e15, 3e15]          training FLOPs of each run: steps = budget / (FLOPs a token x train.batch_tokens)
//       sizes: ...                     as an axis: names for {size}, or bundles of keys
//       convention: exact              or six_nd, chinchilla (plan/flops.h)
//       min_steps: 100                 with fewer steps, or tokens a parameter, a run is marked as the grid's edge
//       min_tokens_per_parameter: 1
//     ladder:
//       sizes: ...
//       tokens_per_parameter: [5, 20]  steps = this x parameters / train.batch_tokens
//       parameters: total              or non_embedding
//       min_steps: 100
//
// Steps are rounded to the nearest; a cell with less than half a step is no run, and is noted. Names: iso1e15_SIZE,
// SIZE_tpp20, after those of the axes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/run_config.h"
#include "sweep/axes.h"
#include "sweep/spec.h"
#include "sweep/yaml_source.h"

namespace ttt {

struct GridSpec {
  bool isoflop = true;
  std::string place;
  Axis sizes;
  std::vector<std::pair<std::string, double>> values;  // budgets, or tokens per parameter, as written and as numbers
  std::string convention = "exact";                    // of isoflop
  std::string parameters = "total";                    // of ladder
  std::int64_t min_steps = 100;
  double min_tokens_per_parameter = 1;

  const char* key() const { return isoflop ? "isoflop" : "ladder"; }
};

// `key`: isoflop or ladder.
GridSpec read_grid(const YamlSource& yaml, const YAML::Node& key, const YAML::Node& node);

// Of a run with this model and batch, not rounded.
double grid_steps(const GridSpec& grid, const RunConfig& config, double value);

// The cell of a run that has its steps; `group`: its axes' names. With the marks that its plan alone gives.
GridCell grid_cell(const GridSpec& grid, const RunConfig& config, const std::string& group, const std::string& size,
                   double value);

// Its marks as one text; "": it is in the middle.
std::string edge_text(const GridCell& cell);

// Marks sizes at either end of a budget where the parabola's minimum would lie there or beyond: of finished groups by
// the lowest loss, of others by what a law of published runs expects (fit/design.h). Replaces what was marked so.
void mark_edges(Sweep& sweep);

}  // namespace ttt
