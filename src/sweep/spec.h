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
//     runs:                                                         further runs by name; their `base` replaces the
//       odd_one: {base: ../run/quickstart.yaml, train.steps: 10}    one at the top
//     slurm: {partition: gpu, time: 24:00:00}                       #SBATCH options for --slurm
//
// Base files are relative to the sweep file. A run's name joins the names of its axes' values by "_".
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "config/run_config.h"

namespace ttt {

struct SweepRun {
  std::size_t index = 0;  // in the whole sweep, from 0: a Slurm array's task
  std::string name;
  RunConfig config;  // resolved; output_dir is OUTPUT_DIR/NAME

  std::filesystem::path folder() const { return config.output_dir; }
};

struct Sweep {
  std::filesystem::path file;
  std::filesystem::path output_dir;
  std::vector<SweepRun> runs;
  std::vector<std::pair<std::string, std::string>> slurm;
};

// Reads and resolves every run. `overrides` ("key=value") win over the file in every run; "output_dir=DIR" names the
// sweep's. Throws UserError with the file and line, or with the run that does not fit.
Sweep read_sweep(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

// Equal for configs that train the same model in the same way: paths of the output and the number of threads do not
// count.
std::string config_hash(const RunConfig& config);

}  // namespace ttt
