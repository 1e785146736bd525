// A sweep file: many training runs over a common base.
//
//     base: ["../model/{mixer}_{size}.yaml", ../run/x.yaml]         config files, later ones win; {axis} stands for the
//                                                                  name of that axis' value (in quotes, for YAML)
//     output_dir: runs/my_sweep                                     each run gets the folder OUTPUT_DIR/NAME
//     set: {train: {eval_every: 100}}                               keys for every run
//     axes:                                                         every combination of one value of each axis; a list
//                                                                   of such maps: the combinations of each
//       mixer: [attention, ttt_linear]                              names alone, for {mixer}
//       size:                                                       or bundles of keys under a name (with `base`, too)
//         small: {model: {hidden_size: 64}, optim.lr: 3e-3}
//       optim.lr: [1e-3, 3e-3]                                      or a config key and its values
//     isoflop: {budgets: [1e15, 3e15], sizes: ..., convention: exact}    each combination at every budget and size
//     ladder: {sizes: ..., tokens_per_parameter: [5, 20]}           likewise; both: sweep/grid.h
//     lr_search: {low: 1e-4, high: 1e-2, evaluations: 6}            each run is a search: sweep/lr_search.h
//     branches: true                                                runs of several lengths share one: sweep/branches.h
//     runs:                                                         further runs by name; their `base` replaces the
//       odd_one: {base: ../run/quickstart.yaml, train.steps: 10}    one at the top
//     slurm: {partition: gpu, time: 24:00:00}                       #SBATCH options for --slurm
//
// Base files are relative to the sweep file. A run's name joins the names of its axes' values by "_".
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/run_config.h"

namespace ttt {

// What isoflop or ladder made a run of.
struct GridCell {
  std::string group;  // "iso1e15", with the names of the axes before it: what a parabola goes through; "": of a ladder
  std::string size;
  double budget = 0;  // FLOPs under `convention`; 0: of a ladder
  std::string convention;
  double tokens_per_parameter = 0;  // asked for; 0: of isoflop
  std::vector<std::string> edges;   // why its own steps and tokens put it at the grid's edge
  std::string end;                  // why its budget's minimum may lie at this size or beyond, at either end of them
};

// Where a run goes on from another one's checkpoint.
struct BranchPoint {
  std::size_t trunk = 0;  // of Sweep::runs
  std::string trunk_name;
  std::filesystem::path checkpoint;  // of the trunk
  std::int64_t step = 0;
};

// Which evaluation of which search a run is.
struct SearchPlace {
  std::size_t search = 0;  // of Sweep::searches
  std::string name;        // its name
  int evaluation = 1;
  bool known = false;        // its learning rate: the evaluations before it have ended
  std::optional<bool> best;  // of its search, once that has ended
};

struct SweepRun {
  std::size_t index = 0;  // in the whole sweep, from 0: a Slurm array's task
  std::string name;
  RunConfig config;  // resolved; output_dir is OUTPUT_DIR/NAME
  std::optional<GridCell> cell;
  std::optional<BranchPoint> branch;
  std::optional<SearchPlace> search;

  std::filesystem::path folder() const { return config.output_dir; }
};

// A search for the learning rate of one combination.
struct LrSearch {
  std::string name;               // of the run that is searched for
  std::vector<std::size_t> runs;  // of Sweep::runs, by evaluation
  double low = 0, high = 0;       // that the best one is between, by what has ended
};

struct Sweep {
  std::filesystem::path file;
  std::filesystem::path output_dir;
  std::vector<SweepRun> runs;
  std::vector<LrSearch> searches;
  std::vector<std::string> notes;  // sentences on what the file asks for and no run is made of
  std::vector<std::pair<std::string, std::string>> slurm;
  double search_low = 0, search_high = 0;  // lr_search's range
};

// Reads and resolves every run, and what finished runs say about others (advance() in sweep/record.h). `overrides` ("key=value")
// win over the file in every run; "output_dir=DIR" names the sweep's. Throws UserError with the file and line, or with
// the run that does not fit.
Sweep read_sweep(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

// Equal for configs that train the same model in the same way: paths of the output, where a branch begins, what is kept
// of it and the number of threads do not count.
std::string config_hash(const RunConfig& config);

}  // namespace ttt
