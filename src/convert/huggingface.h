// A model folder in Hugging Face's layout: config.json and model.safetensors (Llama, Mamba, Gated DeltaNet, or the
// official PyTorch TTT model).
#pragma once

#include <filesystem>
#include <memory>

#include "model/language_model.h"
#include "model/layout.h"

namespace ttt {

struct HuggingFaceModel {
  std::unique_ptr<LanguageModel> model;
  GenerationKeys generation;
};

// Builds the model that config.json describes and loads its weights. Throws UserError naming file and tensor or key.
HuggingFaceModel load_hugging_face(const std::filesystem::path& directory);

}  // namespace ttt
