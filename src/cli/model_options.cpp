// What the commands that run a model share.
#include "cli/model_options.h"

#include "base/error.h"
#include "config/load.h"
#include "model/device.h"
#include "model/self_check.h"
#include "ops/kernel_table.h"

namespace ttt {

void ModelOptions::add_to(CLI::App& app) {
  app.add_option("--checkpoint", checkpoint, "a checkpoint folder, or a run folder (its newest checkpoint)")
      ->required();
  add_machine_options(app);
}

void ModelOptions::add_to(CLI::App& app, std::vector<std::string>& checkpoints) {
  app.add_option("--checkpoint", checkpoints,
                 "checkpoint folders, or run folders (their newest checkpoint); one or several")
      ->required()
      ->type_name("DIR...");
  add_machine_options(app);
}

void ModelOptions::add_machine_options(CLI::App& app) {
  app.add_option("--device", device, "auto (a GPU where there is one), cpu, cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--dtype", dtype, "fp32 or bf16 (train.dtype says what stays fp32)")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  app.add_option("--inner-lr-scale", inner_lr_scale,
                 "TTT layers: the inner learning rates times this; 0: the fast weights stay as they were trained, W0")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--freeze-inner-after", freeze_inner_after,
                 "TTT layers: learn from the first so many tokens of a sequence; read the later ones with what these "
                 "have left")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 60));
  app.add_flag("--no-self-check", unchecked,
               "use a GPU's kernels without the self-check that comes before their first use there");
  app.add_option("--threads", threads, "CPU threads; 0: all cores")->check(CLI::Range(0, 4096))->capture_default_str();
}

torch::Device ModelOptions::select() const {
  prepare_cpu(threads);
  read_kernel_environment();
  const torch::Device selected = select_device(device);
  self_check(selected, !unchecked);
  return selected;
}

LoadedModel ModelOptions::load(torch::Device target) const {
  return load(target, checkpoint);
}

LoadedModel ModelOptions::load(torch::Device target, const std::string& path) const {
  LoadedModel loaded = load_model(path, target);
  if (dtype == "bf16") {
    select_bf16_products(ProductsKind::kAuto, target);
    loaded.model->set_bf16(true);
    loaded.model->round_dense_weights();
  }
  if (control() == InnerLoopControl{}) return loaded;
  check_inner_loop(path, loaded.model->config());
  loaded.model->set_inner_loop(control());
  return loaded;
}

InnerLoopControl ModelOptions::control() const {
  return {inner_lr_scale, freeze_inner_after >= 0 ? std::optional(freeze_inner_after) : std::nullopt};
}

void ModelOptions::check(const std::string& path) const {
  const std::filesystem::path config = find_checkpoint(path) / "config.yaml";
  if (std::filesystem::exists(config)) check_inner_loop(path, load_model_config(config));
}

void ModelOptions::check_inner_loop(const std::string& path, const ModelConfig& config) const {
  if (control() == InnerLoopControl{} || config.has_ttt()) return;
  user_error("the model of '", path, "' has no TTT layer (its mixer is ", to_string(config.mixer), "), which ",
             freeze_inner_after >= 0 ? "--freeze-inner-after" : "--inner-lr-scale", " could change; leave it out");
}

}  // namespace ttt
