// ttt prepare: text, a token array, prompts with answers or a synthetic task to a data set.
#include "data/prepare.h"

#include <iomanip>
#include <iostream>
#include <optional>

#include "base/files.h"
#include "base/json.h"
#include "base/signals.h"
#include "base/timer.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "data/domains.h"
#include "data/manifest.h"
#include "data/task.h"

namespace ttt {
namespace {

struct PrepareArguments {
  std::vector<std::string> inputs, extensions;
  std::string tokens, tokenizer, output, domain_by, kind = "auto";
  DocumentFormat format;
  std::int64_t vocab_size = 0, shard_tokens = std::int64_t{1} << 27, save_every = std::int64_t{32} << 20, threads = 0;
  std::optional<std::int32_t> bos_id, eos_id;
  double valid_fraction = 0;
  std::string answer_field, prompt_field = "prompt", task;
  std::vector<std::string> settings;
  std::int64_t samples = 0, seed = 0;
  bool force = false, json = false, list_tasks = false;
};

void print_tasks() {
  for (const Task* task : all_tasks()) {
    std::cout << task->name() << ": " << task->summary() << "\n";
    for (const TaskParameter& parameter : task->parameters()) {
      std::cout << "  " << std::left << std::setw(24) << parameter.name + "=" + parameter.value << parameter.help;
      for (std::size_t i = 0; i < parameter.words.size(); ++i)
        std::cout << (i == 0 ? (parameter.help.empty() ? "" : "; ") : ", ") << parameter.words[i];
      std::cout << "\n";
    }
  }
}

bool parse(const std::vector<std::string>& args, PrepareArguments& options) {
  CLI::App app(
      "Tokenise text into a data set: plain UTF-8 (a file is a document, or see --separator) or JSON Lines (by name or "
      "content, see --format), either of them compressed (.zst, .gz); or take a token array, prompts with answers, or "
      "a "
      "synthetic task. With text, killed or out of disk, the same command goes on from where it stopped.",
      "ttt prepare");
  auto* input = app.add_option("--input", options.inputs, "text files and folders")->type_name("PATH...");
  auto* tokens =
      app.add_option("--tokens", options.tokens, "instead of --input: a .npy array of token ids, any integer type")
          ->type_name("FILE.npy")
          ->excludes(input);
  app.add_option("--tokenizer", options.tokenizer, "a model of `ttt tokenizer train`")->type_name("FILE.model");
  app.add_option("--output", options.output, "the folder to write")->type_name("DIR");
  app.add_option("--extension", options.extensions, "of folders, only files that end so, e.g. .h .txt; default: all")
      ->type_name("END...")
      ->needs(input);
  add_format_option(app, options.kind)->needs(input);
  app.add_option("--separator", options.format.separator,
                 "of plain text: a line that holds exactly this parts documents, e.g. '<|endoftext|>'")
      ->needs(input)
      ->type_name("LINE");
  app.add_option("--text-field", options.format.text_field, "of JSON Lines: where the text is; a.b is b within a")
      ->needs(input)
      ->type_name("NAME")
      ->capture_default_str();
  auto* field =
      app.add_option("--domain-field", options.format.domain_field,
                     "of JSON Lines: a field that names a document's domain, e.g. meta.pile_set_name; writes the"
                     " sets to DIR/DOMAIN/ and lists them in DIR/domains.json")
          ->needs(input)
          ->type_name("NAME");
  app.add_option("--domain-by", options.domain_by, "likewise, the domain is the name of the file, or of its folder")
      ->needs(input)
      ->excludes(field)
      ->check(CLI::IsMember({"file", "folder"}));
  auto* answer =
      app.add_option("--answer-field", options.answer_field,
                     "of JSON Lines: a line is a prompt and an answer, in these two fields; answers alone are scored")
          ->needs(input)
          ->excludes(field)
          ->type_name("NAME");
  app.add_option("--prompt-field", options.prompt_field, "with --answer-field: where the prompt is")
      ->needs(answer)
      ->type_name("NAME")
      ->capture_default_str();
  auto* task =
      app.add_option("--task", options.task,
                     "samples of a synthetic task, whose answers alone are scored; of the task needle with the "
                     "text to hide things in as --input")
          ->excludes(tokens)
          ->type_name("NAME");
  app.add_flag("--list-tasks", options.list_tasks, "print the tasks and their settings");
  app.add_option("--set", options.settings, "of the task")->needs(task)->type_name("KEY=VALUE...");
  app.add_option("--samples", options.samples, "of the task")->needs(task)->check(positive_number());
  app.add_option("--seed", options.seed, "of the task's samples: another one for other data of the same kind")
      ->needs(task)
      ->check(non_negative_number())
      ->capture_default_str();
  app.add_option("--valid-fraction", options.valid_fraction,
                 "of the documents, set aside for validation: writes train/ and valid/ below DIR (or DIR/DOMAIN)")
      ->needs(input)
      ->type_name("X");
  auto* vocab =
      app.add_option("--vocab-size", options.vocab_size, "with --tokens: ids are below this")->check(positive_number());
  auto* bos = app.add_option("--bos-id", options.bos_id,
                             "with --tokens: the id that begins documents; it is not scored as a target");
  auto* eos = app.add_option("--eos-id", options.eos_id, "with --tokens: the id that ends documents");
  for (CLI::Option* option : {vocab, bos, eos}) option->needs(tokens);
  app.add_option("--shard-tokens", options.shard_tokens, "tokens in a file of the set")
      ->check(positive_number())
      ->capture_default_str();
  app.add_option("--save-every", options.save_every, "bytes of text between two points from which it can go on")
      ->check(positive_number())
      ->needs(input)
      ->capture_default_str();
  app.add_option("--threads", options.threads,
                 "that tokenise; default: as many as this machine has cores and memory for")
      ->check(non_negative_number())
      ->needs(input);
  app.add_flag("--force", options.force, "replace a data set that stands in the output folder");
  app.add_flag("--json", options.json, "print one JSON object");
  if (!parse_arguments(app, args)) return false;
  if (options.list_tasks) {
    if (args.size() > 1) user_error("--list-tasks takes nothing beside it");
    print_tasks();
    return false;
  }
  if (options.output.empty()) user_error("--output is required; `ttt prepare --help` explains the arguments");
  options.format.kind = document_kind(options.kind);
  if (!options.task.empty()) {
    if (options.samples == 0) user_error("--task needs --samples N");
    for (const char* name :
         {"--domain-field", "--domain-by", "--answer-field", "--valid-fraction", "--save-every", "--threads"}) {
      if (app.get_option(name)->count() > 0) user_error(name, " has no use with --task; leave it out");
    }
    return true;
  }
  if (options.inputs.empty() == options.tokens.empty())
    user_error("give either --input PATH... or --tokens FILE.npy, or --task NAME; `ttt prepare --help`");
  if (!options.answer_field.empty()) {
    for (const char* name : {"--text-field", "--separator", "--domain-by", "--valid-fraction", "--save-every",
                             "--threads", "--extension", "--format"}) {
      if (app.get_option(name)->count() > 0) user_error(name, " has no use with --answer-field; leave it out");
    }
  }
  if (!options.inputs.empty() && options.tokenizer.empty()) {
    user_error("text needs --tokenizer FILE.model; make one with `ttt tokenizer train`");
  }
  return true;
}

// What the data set in `directory` holds.
Json summary(const fs::path& directory) {
  const DatasetManifest manifest = read_manifest(directory);
  Json json = {{"path", directory.string()},          {"tokens", manifest.num_tokens},
               {"documents", manifest.num_documents}, {"text_bytes", nullptr},
               {"bytes_per_token", nullptr},          {"vocab_size", manifest.vocab_size},
               {"shards", manifest.shards.size()}};
  if (manifest.has_scores()) json["scored_tokens"] = *manifest.scored_tokens;
  if (manifest.text_bytes > 0) {
    json["text_bytes"] = manifest.text_bytes;
    json["bytes_per_token"] = static_cast<double>(manifest.text_bytes) / static_cast<double>(manifest.num_tokens);
  }
  return json;
}

}  // namespace

ExitCode run_prepare(const std::vector<std::string>& args) {
  PrepareArguments options;
  if (!parse(args, options)) return ExitCode::kOk;
  outlive_readers();
  Timer timer;
  DocumentCounts counts;
  if (!options.task.empty()) {
    prepare_task({.task = options.task,
                  .settings = options.settings,
                  .samples = options.samples,
                  .seed = static_cast<std::uint64_t>(options.seed),
                  .inputs = {options.inputs.begin(), options.inputs.end()},
                  .extensions = options.extensions,
                  .format = options.format,
                  .tokenizer = options.tokenizer,
                  .output = options.output,
                  .shard_tokens = options.shard_tokens,
                  .force = options.force});
  } else if (!options.answer_field.empty()) {
    counts = prepare_answers({.inputs = {options.inputs.begin(), options.inputs.end()},
                              .prompt_field = options.prompt_field,
                              .answer_field = options.answer_field,
                              .tokenizer = options.tokenizer,
                              .output = options.output,
                              .shard_tokens = options.shard_tokens,
                              .force = options.force});
  } else if (options.tokens.empty()) {
    counts = prepare_text({.inputs = {options.inputs.begin(), options.inputs.end()},
                           .extensions = options.extensions,
                           .format = options.format,
                           .domain_by = options.domain_by == "file"     ? DomainBy::kFile
                                        : options.domain_by == "folder" ? DomainBy::kFolder
                                                                        : DomainBy::kNothing,
                           .tokenizer = options.tokenizer,
                           .output = options.output,
                           .valid_fraction = options.valid_fraction,
                           .shard_tokens = options.shard_tokens,
                           .save_every = options.save_every,
                           .threads = options.threads,
                           .force = options.force});
  } else {
    prepare_tokens({.input = options.tokens,
                    .vocab_size = options.vocab_size,
                    .bos_id = options.bos_id,
                    .eos_id = options.eos_id,
                    .tokenizer = options.tokenizer,
                    .output = options.output,
                    .shard_tokens = options.shard_tokens,
                    .force = options.force});
  }
  Json sets = Json::array();
  if (!options.tokens.empty() || !options.task.empty() || !options.answer_field.empty()) {
    sets.push_back(summary(options.output));
  } else if (!options.format.domain_field.empty() || !options.domain_by.empty()) {
    for (const DomainIndex::Domain& domain : read_domains(options.output).domains) {
      for (const std::optional<DomainIndex::Set>& set : {domain.train, domain.valid}) {
        if (set) sets.push_back(summary(fs::path(options.output) / set->path));
      }
    }
  } else if (options.valid_fraction > 0) {
    sets = {summary(fs::path(options.output) / "train"), summary(fs::path(options.output) / "valid")};
  } else {
    sets.push_back(summary(options.output));
  }
  if (options.json) {
    Json object = {{"sets", sets}, {"seconds", timer.seconds()}};
    if (!options.inputs.empty() && options.task.empty()) {
      object["empty_documents"] = counts.empty;
      object["documents_with_replaced_characters"] = counts.replaced;
    }
    std::cout << to_line(object);
    return ExitCode::kOk;
  }
  for (const Json& set : sets) {
    std::cout << "wrote " << set["path"].get<std::string>() << ": " << set["tokens"] << " tokens in "
              << set["documents"] << (set["documents"] == 1 ? " document" : " documents");
    if (set.contains("scored_tokens")) std::cout << ", " << set["scored_tokens"] << " of them scored";
    if (!set["text_bytes"].is_null()) {
      std::cout << ", " << set["text_bytes"] << " bytes of text, " << std::fixed << std::setprecision(3)
                << set["bytes_per_token"].get<double>() << " bytes a token";
    }
    std::cout << "\n";
  }
  if (counts.empty > 0)
    std::cout << "left out " << counts.empty << (counts.empty == 1 ? " document" : " documents") << " without text\n";
  if (counts.replaced > 0) {
    std::cout << counts.replaced << (counts.replaced == 1 ? " document holds" : " documents hold")
              << " half of a surrogate pair, for which U+FFFD stands\n";
  }
  std::cout << "in " << std::fixed << std::setprecision(1) << timer.seconds() << " s\n";
  return ExitCode::kOk;
}

}  // namespace ttt
