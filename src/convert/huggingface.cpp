#include "convert/huggingface.h"

#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "checkpoint/safetensors.h"
#include "model/layout.h"

namespace ttt {

HuggingFaceModel load_hugging_face(const std::filesystem::path& directory) {
  const auto config_path = directory / "config.json", weights_path = directory / "model.safetensors";
  if (!fs::exists(weights_path) && fs::exists(directory / "model.safetensors.index.json"))
    user_error(directory.string(),
               ": the weights are split into several files; save them as one model.safetensors first");
  const Json json = Json::parse(read_file(config_path), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) user_error(config_path.string(), ": not valid JSON");
  auto model = std::make_unique<LanguageModel>(model_config_from_hugging_face(json, config_path.string()), 0);
  NamedTensors weights;
  for (auto& [name, tensor] : read_safetensors(weights_path).tensors) weights.emplace_back(name, tensor);
  import_parameters(*model, std::move(weights), weights_path.string());
  return {std::move(model), generation_keys(json)};
}

}  // namespace ttt
