// ttt generate: text from a checkpoint, as it comes.
#include <unistd.h>

#include <iostream>
#include <limits>

#include "base/files.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/parse.h"
#include "infer/generate.h"

namespace ttt {
namespace {

struct GenerateArguments {
  ModelOptions model;
  std::string prompt, prompt_file, tokenizer;
  bool prompt_given = false, stream = true, echo = false, json = false;
  std::uint64_t seed = 0;
  std::int64_t max_tokens = 200;
  SamplingOptions sampling;
};

bool parse(const std::vector<std::string>& args, GenerateArguments& options) {
  CLI::App app("Text from a checkpoint: continues a prompt. The same seed gives the same text.", "ttt generate");
  options.model.add_to(app);
  CLI::Option* prompt = app.add_option("PROMPT", options.prompt,
                                       "text to continue; '-', or none with input from a pipe: from standard input");
  app.add_option("--prompt-file", options.prompt_file, "the prompt is this file's text")->excludes(prompt);
  app.add_option("--max-tokens", options.max_tokens, "new tokens at most")
      ->check(positive_number())
      ->capture_default_str();
  app.add_option("--temperature", options.sampling.temperature, "0: always the likeliest token")->capture_default_str();
  app.add_option("--top-k", options.sampling.top_k, "only the k likeliest tokens; 0: all")->capture_default_str();
  app.add_option("--top-p", options.sampling.top_p, "only the likeliest tokens that sum to this probability")
      ->capture_default_str();
  app.add_option("--seed", options.seed, "of the sampling")->capture_default_str();
  app.add_option("--tokenizer", options.tokenizer, "a SentencePiece model; default: the checkpoint's own");
  app.add_flag("--stream,!--no-stream", options.stream, "print the text as it comes (default) or at the end");
  app.add_flag("--echo", options.echo, "print the prompt before the text");
  app.add_flag("--json", options.json, "print one JSON object at the end");
  if (!parse_arguments(app, args)) return false;
  options.prompt_given = prompt->count() > 0;
  validate(options.sampling);
  return true;
}

std::string read_prompt(const GenerateArguments& options) {
  std::string text = options.prompt, source = "the prompt";
  if (!options.prompt_file.empty()) {
    text = read_file(options.prompt_file);
    source = "'" + options.prompt_file + "'";
  } else if (options.prompt == "-" || (!options.prompt_given && isatty(STDIN_FILENO) == 0)) {
    text = read_stdin();
    source = "standard input";
  }
  if (const auto bad = find_invalid_utf8(text))
    user_error(source, " is not UTF-8 text: byte ", *bad, " is invalid; convert it to UTF-8");
  return text;
}

Tokenizer take_tokenizer(LoadedModel& loaded, const std::string& file) {
  if (file.empty()) {
    if (!loaded.tokenizer)
      user_error("checkpoint '", loaded.directory.string(), "' has no tokenizer; give --tokenizer FILE.model");
    return std::move(*loaded.tokenizer);
  }
  Tokenizer tokenizer(file);
  const std::int64_t ids = loaded.model->config().vocab_size;  // more than pieces: the model's vocabulary is padded
  if (tokenizer.vocab_size() > ids || (loaded.tokenizer && tokenizer.vocab_size() != loaded.tokenizer->vocab_size())) {
    user_error("tokenizer '", file, "' has ", tokenizer.vocab_size(), " pieces, the model ",
               loaded.model->config().vocab_size, "; give the one that it was trained with");
  }
  if (loaded.tokenizer && loaded.tokenizer->hash() != tokenizer.hash()) {
    user_error("tokenizer '", file, "' is another one than that of checkpoint '", loaded.directory.string(),
               "'; leave out --tokenizer");
  }
  return tokenizer;
}

double rate(std::size_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
}

}  // namespace

ExitCode run_generate(const std::vector<std::string>& args) {
  GenerateArguments options;
  if (!parse(args, options)) return ExitCode::kOk;
  const std::string prompt = read_prompt(options);
  const torch::Device device = options.model.select();
  LoadedModel loaded = options.model.load(device);
  const Tokenizer tokenizer = take_tokenizer(loaded, options.tokenizer);

  std::vector<std::int32_t> ids = tokenizer.encode(prompt);
  if (tokenizer.bos_id() >= 0) ids.insert(ids.begin(), tokenizer.bos_id());
  GenerateOptions generation;
  generation.max_tokens = options.max_tokens;
  generation.sampling = options.sampling;
  generation.seed = options.seed;
  generation.device = device;
  generation.vocab_size = tokenizer.vocab_size();
  generation.max_context = loaded.trained_context;
  if (tokenizer.eos_id() >= 0) generation.eos_id = tokenizer.eos_id();

  const bool stream = options.stream && !options.json;
  std::string text = options.echo ? prompt : "";
  TextStream pieces(tokenizer, ids);
  const auto emit = [&](const std::string& piece) {
    if (stream) {
      std::cout << piece << std::flush;
    } else {
      text += piece;
    }
  };
  if (stream) std::cout << text << std::flush;
  const GenerateResult result =
      generate(*loaded.model, ids, generation, [&](std::int32_t token) { emit(pieces.push(token)); });
  emit(pieces.finish());

  const double speed = rate(result.tokens.size(), result.decode_seconds);
  if (options.json) {
    const Json json = {{"text", text},
                       {"tokens", result.tokens},
                       {"prompt_tokens", ids.size()},
                       {"finish", result.ended_by_eos ? "eos" : "length"},
                       {"prompt_seconds", result.prompt_seconds},
                       {"tokens_per_second", speed},
                       {"state_bytes", result.state_bytes}};
    std::cout << to_line(json) << std::flush;
    return ExitCode::kOk;
  }
  std::cout << (stream ? "" : text) << std::endl;
  std::cerr << cat(result.tokens.size(), " tokens at ", static_cast<std::int64_t>(speed * 10) / 10.0,
                   " tokens/s; prompt of ", ids.size(), " tokens at ",
                   static_cast<std::int64_t>(rate(ids.size(), result.prompt_seconds)), " tokens/s; state ",
                   result.state_bytes / 1024, " KiB", result.ended_by_eos ? "; ended by EOS" : "", "\n");
  return ExitCode::kOk;
}

}  // namespace ttt
