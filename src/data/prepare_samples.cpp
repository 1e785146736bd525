// Tasks, and prompts with answers, to data sets that say which targets are scored.
#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/log.h"
#include "data/dataset.h"
#include "data/prepare.h"
#include "data/task.h"
#include "data/writer.h"
#include "tokenizer/text_files.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

namespace {

constexpr std::size_t kHaystackTokens = std::size_t{1} << 26;  // that a task takes of a text, at most
constexpr std::size_t kHaystackBytes = std::size_t{1} << 29;   // of a document

std::vector<std::int32_t> read_haystack(const PrepareTask& options, const Tokenizer& tokenizer) {
  const std::vector<TextFile> files =
      list_text_files({.inputs = options.inputs, .extensions = options.extensions, .format = options.format});
  std::vector<std::int32_t> tokens;
  for (const TextFile& file : files) {
    if (tokens.size() >= kHaystackTokens) break;
    DocumentFormat format = options.format;
    format.kind = file.kind;
    DocumentReader reader(file.path, format);
    DocumentPart part;
    std::string document;
    while (tokens.size() < kHaystackTokens && reader.next(part)) {
      document += part.text;
      // A token has some bytes: of a document of this size the rest would be left out.
      const bool enough = document.size() >= kHaystackBytes;
      if (!part.last && !enough) continue;
      for (const std::string_view segment : tokenizer.segments(document, std::size_t{1} << 20)) {
        const std::vector<std::int32_t> ids = tokenizer.encode(segment, /*continued=*/!tokens.empty());
        tokens.insert(tokens.end(), ids.begin(), ids.end());
      }
      document.clear();
      if (enough) break;
    }
  }
  if (tokens.size() >= kHaystackTokens)
    log_info(cat("the text has more than ", kHaystackTokens, " tokens; samples are taken of the first so many"));
  tokens.resize(std::min(tokens.size(), kHaystackTokens));
  return tokens;
}

}  // namespace

void prepare_task(const PrepareTask& options) {
  check_output_directory(options.output, options.force);
  TaskSettings settings(options.task, options.settings);
  TTT_CHECK(options.samples > 0, "samples ", options.samples);
  Json task = settings.to_json();
  task["samples"] = options.samples;
  task["seed"] = options.seed;
  std::optional<Tokenizer> tokenizer;
  TaskText text;
  if (settings.task().needs_text()) {
    if (options.inputs.empty() || options.tokenizer.empty())
      user_error("task ", options.task,
                 " hides things in your text: give it with --input PATH... and --tokenizer FILE.model");
    tokenizer.emplace(options.tokenizer);
    if (tokenizer->bos_id() < 0) {
      user_error("the tokenizer '", options.tokenizer.string(),
                 "' has no <s> piece to begin samples with; train one with `ttt tokenizer train`");
    }
    text = {&*tokenizer, read_haystack(options, *tokenizer)};
    settings.set_text(text);
    task["haystack_tokens"] = text.haystack.size();
    task["haystack_xxh3"] = hex64(xxh3(text.haystack.data(), text.haystack.size() * sizeof(std::int32_t)));
  } else if (!options.inputs.empty() || !options.tokenizer.empty()) {
    user_error("task ", options.task, " has tokens of its own; leave --input and --tokenizer out");
  }
  DatasetWriter writer({.directory = options.output,
                        .vocab_size = settings.task().vocab_size(settings),
                        .bos_id = tokenizer ? std::optional(tokenizer->bos_id()) : std::nullopt,
                        .eos_id = {},
                        .tokenizer = tokenizer ? &*tokenizer : nullptr,
                        .shard_tokens = options.shard_tokens,
                        .force = options.force,
                        .scores = true,
                        .task = task});
  std::int64_t text_bytes = 0;
  for (std::int64_t index = 0; index < options.samples; ++index) {
    const TaskSample sample = task_sample(settings, options.seed, index);
    writer.begin_document(sample.items);
    writer.append(sample.tokens, sample.marks);
    for (const std::int32_t id : sample.tokens)
      if (tokenizer) text_bytes += tokenizer->token_bytes()[static_cast<std::size_t>(id)];
    if (index % 1000 == 0) show_progress(cat("prepare: ", index, " of ", options.samples, " samples"));
  }
  show_progress("");
  if (writer.manifest().scored_tokens.value_or(0) == 0)
    user_error("task ", options.task, " with these settings asks nothing: no token of ", options.samples,
               " samples is scored; give a larger length, or more samples");
  writer.add_text_bytes(text_bytes);
  for (const fs::path& input : options.inputs) writer.add_source(input.string(), 0);
  writer.commit();
}

DocumentCounts prepare_answers(const PrepareAnswers& options) {
  check_output_directory(options.output, options.force);
  const Tokenizer tokenizer(options.tokenizer);
  if (tokenizer.bos_id() < 0 || tokenizer.eos_id() < 0) {
    user_error("the tokenizer '", options.tokenizer.string(),
               "' has no <s> and </s> pieces to part documents with; train one with `ttt tokenizer train`");
  }
  DocumentFormat format;
  format.kind = DocumentKind::kJsonLines;
  format.text_field = options.prompt_field;
  format.domain_field = options.answer_field;  // the other field that is read of a line
  format.text_option = "--prompt-field";
  format.domain_option = "--answer-field";
  const std::vector<TextFile> files = list_text_files({.inputs = options.inputs, .format = format});
  DatasetWriter writer({.directory = options.output,
                        .vocab_size = tokenizer.vocab_size(),
                        .bos_id = tokenizer.bos_id(),
                        .eos_id = tokenizer.eos_id(),
                        .tokenizer = &tokenizer,
                        .shard_tokens = options.shard_tokens,
                        .force = options.force,
                        .scores = true});
  DocumentCounts counts;
  for (const TextFile& file : files) {
    DocumentReader reader(file.path, format);
    DocumentPart part;
    std::string prompt, answer;
    while (reader.next(part)) {
      if (part.first) prompt.clear(), answer = part.domain;
      prompt += part.text;
      if (!part.last) continue;
      std::vector<std::int32_t> tokens = {tokenizer.bos_id()};
      for (const std::int32_t id : tokenizer.encode(prompt)) tokens.push_back(id);
      std::vector<std::uint8_t> marks(tokens.size(), 0);
      for (const std::int32_t id : tokenizer.encode(answer, /*continued=*/true)) tokens.push_back(id);
      tokens.push_back(tokenizer.eos_id());
      marks.push_back(kScored | kFirstOfAnswer);
      marks.resize(tokens.size(), kScored);
      writer.begin_document();
      writer.append(tokens, marks);
      const auto bytes = static_cast<std::int64_t>(prompt.size() + answer.size());
      writer.add_source(file.path.string(), bytes);
      writer.add_text_bytes(bytes);
    }
    counts.empty += reader.counts().empty;
    counts.replaced += reader.counts().replaced;
  }
  if (writer.manifest().num_documents == 0)
    user_error("'", options.inputs.front().string(), "' holds no prompt; give JSON Lines with a field '",
               options.prompt_field, "' and a field '", options.answer_field, "'");
  writer.commit();
  return counts;
}

}  // namespace ttt
