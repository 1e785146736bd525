// What the commands that run a model share: --checkpoint, --device, --dtype, --threads, and how much inner loops learn.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "infer/load_model.h"

namespace ttt {

struct ModelOptions {
  std::string checkpoint;
  std::string device = "auto", dtype = "fp32";
  std::int64_t threads = 0;
  bool unchecked = false;  // --no-self-check
  double inner_lr_scale = 1.0;
  std::int64_t freeze_inner_after = -1;  // -1: not given

  void add_to(CLI::App& app);
  // The same for a command that takes several checkpoints.
  void add_to(CLI::App& app, std::vector<std::string>& checkpoints);
  torch::Device select() const;                  // sets the threads and does the self-check, too
  LoadedModel load(torch::Device device) const;  // in the type asked for
  LoadedModel load(torch::Device device, const std::string& path) const;
  // Throws UserError where load() would for a checkpoint that is not there, or a model that these options are not for.
  // Reads config.yaml alone.
  void check(const std::string& path) const;

 private:
  void add_machine_options(CLI::App& app);
  InnerLoopControl control() const;
  void check_inner_loop(const std::string& path, const ModelConfig& config) const;
};

}  // namespace ttt
