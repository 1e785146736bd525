// Text or token arrays to data sets.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tokenizer/document_reader.h"

namespace ttt {

enum class DomainBy { kNothing, kFolder, kFile };

// Text: BOS doc EOS BOS doc EOS ..., documents as DocumentReader finds them. Tokenised in parallel, streamed (memory
// bounded), in order. With valid_fraction > 0 documents go whole to DIR/train or DIR/valid, by a hash of their first
// MiB; when there are too few files for that (fewer than 4 / valid_fraction, each of them one document) the end of
// every document goes to valid, cut at a line end, and each part is a document. With domains, every one of them has
// these folders of its own below DIR, and DIR/domains.json lists them (data/domains.h).
//
// A preparation that was killed or ran out of disk goes on when it is called again with the same options and input, and
// ends with the same bytes as one that was not disturbed: DIR/.prepare holds what is needed for it. Throws UserError
// for input that cannot be taken (see list_text_files and DocumentReader), for empty text, for an output that holds a
// data set already, and for an unfinished preparation by another command; what was in the output is not changed then,
// and nothing is left behind. The output may lie within the input: what a preparation writes there is not taken for
// text.
struct PrepareText {
  std::vector<std::filesystem::path> inputs;  // files and folders
  std::vector<std::string> extensions;        // only files of folders that end so (".h"); empty: all
  DocumentFormat format = {};
  DomainBy domain_by = DomainBy::kNothing;  // the name of the folder or file that a document comes from
  std::filesystem::path tokenizer;
  std::filesystem::path output;
  double valid_fraction = 0.0;  // in [0, 1); 0: no validation set, DIR itself is the set
  std::int64_t shard_tokens = std::int64_t{1} << 27;
  std::int64_t save_every = std::int64_t{32} << 20;  // bytes of text between two points from which it can go on
  std::int64_t threads = 0;                          // 0: as many as this machine has cores and memory for
  bool force = false;                                // replace data sets that stand in the output

  bool by_domain() const { return !format.domain_field.empty() || domain_by != DomainBy::kNothing; }
};
DocumentCounts prepare_text(const PrepareText& options);  // what was met in the whole input

// A token array (.npy, any integer dtype, one dimension; two are read row by row): one set in `output`, every token
// kept, in order. With bos_id a document begins at every BOS. Throws UserError for a value outside the vocabulary, with
// its index.
struct PrepareTokens {
  std::filesystem::path input;
  std::int64_t vocab_size = 0;  // 0: the tokenizer's
  std::optional<std::int32_t> bos_id, eos_id;
  std::filesystem::path tokenizer;  // optional: its hash and a copy go with the set
  std::filesystem::path output;
  std::int64_t shard_tokens = std::int64_t{1} << 27;
  bool force = false;
};
void prepare_tokens(const PrepareTokens& options);

// Samples of a task (data/task.h), 0 .. samples-1 of a seed, each a document of the same number of tokens: one set in
// `output`, which says which targets are scored. Throws UserError as TaskSettings does, for a text that is needed and
// not given, and for one that is given and not needed.
struct PrepareTask {
  std::string task;
  std::vector<std::string> settings;  // "key=value"
  std::int64_t samples = 0;
  std::uint64_t seed = 0;
  // Of a task that needs text: files and folders, read as prepare_text does, and the tokenizer.
  std::vector<std::filesystem::path> inputs = {};
  std::vector<std::string> extensions = {};
  DocumentFormat format = {};
  std::filesystem::path tokenizer = {};
  std::filesystem::path output = {};
  std::int64_t shard_tokens = std::int64_t{1} << 27;
  bool force = false;
};
void prepare_task(const PrepareTask& options);

// Prompts with answers, JSON Lines of objects with a field for each: documents BOS prompt answer EOS, of which the
// answer and EOS are scored, as one answer. Throws UserError as list_text_files and DocumentReader do.
struct PrepareAnswers {
  std::vector<std::filesystem::path> inputs;
  std::string prompt_field, answer_field;
  std::filesystem::path tokenizer;
  std::filesystem::path output;
  std::int64_t shard_tokens = std::int64_t{1} << 27;
  bool force = false;
};
DocumentCounts prepare_answers(const PrepareAnswers& options);

}  // namespace ttt
