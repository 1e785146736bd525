// Text or token arrays to data sets.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ttt {

// Text: every file is a document, BOS doc EOS BOS doc EOS ...; documents go whole to DIR/train or, with probability
// valid_fraction by a hash of the document's content, to DIR/valid. Tokenised in parallel, streamed (memory bounded), in order.
// Throws UserError for a file that is not UTF-8 (naming it and the byte), for empty text, for a missing path.
struct PrepareText {
  std::vector<std::filesystem::path> inputs;  // files and folders
  std::vector<std::string> extensions;        // only files of folders that end so (".h"); empty: all
  std::filesystem::path tokenizer;
  std::filesystem::path output;   // gets train/ and, with valid_fraction > 0, valid/
  double valid_fraction = 0.0;    // 0: one set, in output itself
  std::int64_t shard_tokens = 1 << 27;
  std::int64_t threads = 0;
};
void prepare_text(const PrepareText& options);

// A token array (.npy, any integer dtype, one dimension; two are read row by row): one set in `output`, every token kept, in order.
struct PrepareTokens {
  std::filesystem::path input;
  std::int64_t vocab_size = 0;
  std::optional<std::int32_t> bos_id, eos_id;
  std::filesystem::path tokenizer;  // optional: its hash and a copy go with the set
  std::filesystem::path output;
  std::int64_t shard_tokens = 1 << 27;
};
void prepare_tokens(const PrepareTokens& options);

}  // namespace ttt
