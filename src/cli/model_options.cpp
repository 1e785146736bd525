// What the commands that run a model share.
#include "cli/model_options.h"

#include "model/device.h"

namespace ttt {

void ModelOptions::add_to(CLI::App& app) {
  app.add_option("--checkpoint", checkpoint, "a checkpoint folder, or a run folder (its newest checkpoint)")
      ->required();
  app.add_option("--device", device, "auto (a GPU where there is one), cpu, cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--threads", threads, "CPU threads; 0: all cores")->check(CLI::Range(0, 4096))->capture_default_str();
}

torch::Device ModelOptions::select() const {
  set_cpu_threads(threads);
  if (device == "cpu") return select_device(DeviceKind::kCpu);
  return select_device(device == "cuda" ? DeviceKind::kCuda : DeviceKind::kAuto);
}

}  // namespace ttt
