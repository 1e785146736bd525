// A checkpoint folder to a model that runs: weights, config, tokenizer.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "model/language_model.h"
#include "model/layout.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

struct LoadedModel {
  std::shared_ptr<LanguageModel> model;  // fp32, in evaluation mode, on the device asked for
  std::optional<Tokenizer> tokenizer;
  std::optional<std::int64_t> trained_context;  // train.context of its config.yaml, when it has one
  std::filesystem::path directory;              // the checkpoint folder that was read
};

// Throws UserError, with what to do, where `path` is a model folder of Hugging Face's programs.
void check_no_hugging_face_folder(const std::filesystem::path& path);

// The checkpoint that `path` means: itself when it is one, or the newest complete one of a run folder
// (PATH/checkpoints/step_*) or of a folder of checkpoints. Throws UserError when there is none.
std::filesystem::path find_checkpoint(const std::filesystem::path& path);

// Reads and verifies the model of find_checkpoint(path). The architecture comes from the section `model:` of
// config.yaml when the checkpoint has one, else from Hugging Face's config.json. Throws UserError naming the file and
// what is wrong with it.
LoadedModel load_model(const std::filesystem::path& path, torch::Device device);

// The ids that config.json has of a tokenizer.
GenerationKeys generation_keys(const Tokenizer& tokenizer);

}  // namespace ttt
