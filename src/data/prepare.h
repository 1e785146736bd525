// Text or token arrays to data sets.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ttt {

// Text: every file is a document, BOS doc EOS BOS doc EOS ...; files without a byte are left out. Tokenised in
// parallel, streamed (memory bounded), in order. With valid_fraction > 0 the text is split over DIR/train and
// DIR/valid: documents go whole to one of them by a hash of their content; when there are too few for that (fewer than
// 4 / valid_fraction) the end of every document goes to valid, cut at a line end, and each part is a document. Throws
// UserError for a file that is not UTF-8 (naming it and the byte), for empty text, for a missing path, and for an
// output that holds a data set already; nothing is changed then.
struct PrepareText {
  std::vector<std::filesystem::path> inputs;  // files and folders
  std::vector<std::string> extensions;        // only files of folders that end so (".h"); empty: all
  std::filesystem::path tokenizer;
  std::filesystem::path output;  // gets train/ and, with valid_fraction > 0, valid/
  double valid_fraction = 0.0;   // in [0, 1); 0: one set, in output itself
  std::int64_t shard_tokens = std::int64_t{1} << 27;
  std::int64_t threads = 0;  // 0: all cores
  bool force = false;        // replace data sets that stand in the output
};
void prepare_text(const PrepareText& options);

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

}  // namespace ttt
