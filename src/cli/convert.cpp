// ttt convert: parameters of other codes to a checkpoint that `ttt eval`, `ttt generate` and `init_from:` take.
#include <filesystem>
#include <iostream>
#include <memory>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "config/load.h"
#include "convert/huggingface.h"
#include "convert/jax.h"
#include "infer/load_model.h"
#include "model/language_model.h"
#include "model/layout.h"
#include "plan/parameters.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

struct ConvertArguments {
  std::string from, input, config, output, tokenizer;
  bool force = false, json = false;
};

bool parse(const std::vector<std::string>& args, ConvertArguments& options) {
  CLI::App app("Parameters of other codes to a checkpoint.", "ttt convert");
  app.add_option("--from", options.from,
                 "ttt-lm-jax: a .safetensors file of the official JAX code's parameters; huggingface: a folder")
      ->required()
      ->check(CLI::IsMember({"ttt-lm-jax", "huggingface"}));
  app.add_option("--input", options.input, "the file or folder to convert")->required();
  app.add_option("--config", options.config, "YAML file with the section model: (ttt-lm-jax only)");
  app.add_option("--output", options.output, "the checkpoint folder to write")->required();
  app.add_option("--tokenizer", options.tokenizer, "a SentencePiece model to keep with it");
  app.add_flag("--force", options.force, "replace a checkpoint that is at --output");
  app.add_flag("--json", options.json, "print one JSON object");
  return parse_arguments(app, args);
}

// Nothing is replaced unless asked for, and then only what is a checkpoint.
void check_output(const fs::path& output, bool force) {
  if (!fs::exists(output)) return;
  if (!fs::is_directory(output)) user_error("--output '", output.string(), "' is a file; name a folder");
  if (fs::is_empty(output)) return;
  if (!force)
    user_error("--output '", output.string(),
               "' exists and is not empty; name another folder, or replace it with --force");
  if (!fs::exists(output / "model.safetensors")) {
    user_error("--output '", output.string(),
               "' is not a checkpoint, so --force does not replace it; name another folder");
  }
}

// Weights of a training that diverged, or too large for fp32, make no model.
void check_finite(const LanguageModel& model, const std::string& source) {
  for (const auto& item : model.named_parameters()) {
    if (at::isfinite(item.value()).all().item<bool>()) continue;
    user_error("'", source, "': the tensor for ", item.key(),
               " has values that are not finite in fp32; take weights from before they diverged");
  }
}

HuggingFaceModel load_input(const ConvertArguments& options) {
  if (!fs::exists(options.input)) user_error("there is no '", options.input, "'; check --input");
  if (options.from == "huggingface") {
    if (!options.config.empty())
      user_error("--config is for --from ttt-lm-jax; Hugging Face's config.json says what the model is");
    const fs::path input(options.input);
    if (fs::is_directory(input) && !fs::exists(input / "config.json"))
      user_error("'", options.input, "' has no config.json; name a folder with config.json and model.safetensors");
    return load_hugging_face(fs::is_directory(input) ? input : input.parent_path());
  }
  if (options.config.empty()) user_error("--from ttt-lm-jax needs --config FILE.yaml with the section model:");
  auto model = std::make_unique<LanguageModel>(load_model_config(options.config), 0);
  load_jax_parameters(*model, options.input);
  return {std::move(model), {}};
}

}  // namespace

ExitCode run_convert(const std::vector<std::string>& args) {
  ConvertArguments options;
  if (!parse(args, options)) return ExitCode::kOk;
  check_output(options.output, options.force);
  auto [model, generation] = load_input(options);
  check_finite(*model, options.input);
  Checkpoint checkpoint;
  checkpoint.model = export_parameters(*model);
  checkpoint.config_yaml = to_yaml(model->config());
  if (!options.tokenizer.empty()) {
    const Tokenizer tokenizer(options.tokenizer);
    if (tokenizer.vocab_size() > model->config().vocab_size) {  // fewer: the model's vocabulary is padded
      user_error("tokenizer '", options.tokenizer, "' has ", tokenizer.vocab_size(), " pieces, the model ",
                 model->config().vocab_size, "; give the one that it was trained with");
    }
    checkpoint.tokenizer = tokenizer.bytes();
    const GenerationKeys of_tokenizer = generation_keys(tokenizer);
    if (generation.bos_token_id.is_null()) generation.bos_token_id = of_tokenizer.bos_token_id;
    if (generation.eos_token_id.is_null()) generation.eos_token_id = of_tokenizer.eos_token_id;
    if (generation.pad_token_id.is_null()) generation.pad_token_id = of_tokenizer.pad_token_id;
    if (tokenizer.vocab_size() < model->config().vocab_size) {
      log_info(cat("the model's vocabulary has ", model->config().vocab_size - tokenizer.vocab_size(),
                   " ids more than '", options.tokenizer, "' has pieces: taken for padding, never generated"));
    }
  }
  checkpoint.hf_config = hugging_face_config(model->config(), generation);
  fs::path output = fs::absolute(options.output).lexically_normal();
  if (!output.has_filename()) output = output.parent_path();  // "out/"
  make_writable_directory(output.parent_path());
  write_checkpoint(output, checkpoint);
  if (options.json) {
    const Json object = {{"checkpoint", output.string()},
                         {"mixer", to_string(model->config().mixer)},
                         {"parameters", count_parameters(model->config()).total},
                         {"tokenizer", !checkpoint.tokenizer.empty()}};
    std::cout << to_line(object);
    return ExitCode::kOk;
  }
  std::cout << "wrote " << options.output << ": " << to_string(model->config().mixer) << ", "
            << count_parameters(model->config()).total << " parameters\n";
  return ExitCode::kOk;
}

}  // namespace ttt
