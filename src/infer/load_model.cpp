// A checkpoint folder to a model that runs.
#include "infer/load_model.h"

#include <utility>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "config/fields.h"
#include "config/load.h"
#include "model/layout.h"

namespace ttt {

namespace fs = std::filesystem;

void check_no_hugging_face_folder(const fs::path& path) {
  const auto has = [&](const char* name) { return fs::exists(path / name); };
  if (!has("config.json") || has("config.yaml") || has("manifest.json") || has("COMPLETE")) return;
  if (!has("model.safetensors") && !has("model.safetensors.index.json") && !has("pytorch_model.bin")) return;
  user_error("'", path.string(),
             "' is a Hugging Face folder and no checkpoint; make one of it with `ttt convert --from "
             "huggingface --input ",
             path.string(), " --output DIR`");
}

fs::path find_checkpoint(const fs::path& path) {
  if (!fs::exists(path)) user_error("there is no checkpoint '", path.string(), "'; check the path");
  if (!fs::is_directory(path))
    user_error("'", path.string(), "' is a file; a checkpoint is a folder, name the one that holds it");
  check_no_hugging_face_folder(path);
  if (fs::exists(path / "COMPLETE") || fs::exists(path / "model.safetensors")) return path;
  for (const fs::path& root : {path / "checkpoints", path}) {
    if (!fs::is_directory(root)) continue;
    if (const auto found = list_checkpoints(root); !found.empty()) return found.back().second;
  }
  user_error("'", path.string(),
             "' holds no complete checkpoint; name a folder step_N, or a run folder whose checkpoints/ has one");
}

LoadedModel load_model(const fs::path& path, torch::Device device) {
  LoadedModel loaded;
  loaded.directory = find_checkpoint(path);
  Checkpoint checkpoint = read_checkpoint(loaded.directory, CheckpointParts::kModel);
  const fs::path config_file = loaded.directory / "config.yaml";
  ModelConfig config;
  if (!checkpoint.config_yaml.empty()) {
    config = load_model_config(config_file);
    std::int64_t context = 0;
    if (const auto text = config_value(config_file, "train.context"); text && parse_integer(*text, context))
      loaded.trained_context = context;
  } else {
    config = model_config_from_hugging_face(checkpoint.hf_config, (loaded.directory / "config.json").string());
  }
  loaded.model = std::make_shared<LanguageModel>(config, 0);
  import_parameters(*loaded.model, std::move(checkpoint.model), (loaded.directory / "model.safetensors").string());
  loaded.model->to(device);
  loaded.model->eval();
  if (!checkpoint.tokenizer.empty()) {
    loaded.tokenizer = Tokenizer::from_bytes(checkpoint.tokenizer, (loaded.directory / "tokenizer.model").string());
    if (loaded.tokenizer->vocab_size() > config.vocab_size) {  // fewer: the model's vocabulary is padded
      user_error(loaded.directory.string(), ": the tokenizer has ", loaded.tokenizer->vocab_size(),
                 " pieces, the model ", config.vocab_size, " (model.vocab_size); they do not belong together");
    }
  }
  return loaded;
}

GenerationKeys generation_keys(const Tokenizer& tokenizer) {
  const auto id_or_null = [](std::int32_t id) { return id >= 0 ? Json(id) : Json(); };
  return {0, id_or_null(tokenizer.bos_id()), id_or_null(tokenizer.eos_id()), id_or_null(tokenizer.pad_id())};
}

}  // namespace ttt
