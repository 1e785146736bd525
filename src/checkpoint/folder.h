// Inside the checkpoint layer: the names of a checkpoint's files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <ATen/core/Tensor.h>

namespace ttt::checkpoint_folder {

// 2: the optimizer in pieces, by the ranks that wrote it. One process alone writes 1.
constexpr std::int64_t kFormatVersion = 2;
constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kModelConfigFile = "config.json";
constexpr const char* kStateFile = "state.json";
constexpr const char* kRunConfigFile = "config.yaml";
constexpr const char* kTokenizerFile = "tokenizer.model";
constexpr const char* kManifestFile = "manifest.json";
constexpr const char* kCompleteFile = "COMPLETE";

// As the manifest records a tensor.
std::string tensor_hash(const at::Tensor& tensor);
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);  // throws Error

}  // namespace ttt::checkpoint_folder
