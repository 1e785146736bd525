// A token array to a data set.
#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/files.h"
#include "data/npy.h"
#include "data/prepare.h"
#include "data/writer.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

constexpr std::int64_t kTokenBlock = 1 << 20;  // values at once
constexpr std::int64_t kMaxVocab = std::int64_t{1} << 31;

void check_special_id(const char* option, std::optional<std::int32_t> id, std::int64_t vocab_size) {
  if (id && (*id < 0 || *id >= vocab_size)) {
    user_error(option, " ", *id, " is outside the vocabulary of ", vocab_size, "; give an id from 0 to ",
               vocab_size - 1);
  }
}

}  // namespace

void prepare_tokens(const PrepareTokens& options) {
  check_output_directory(options.output, options.force);
  std::unique_ptr<Tokenizer> tokenizer;
  if (!options.tokenizer.empty()) tokenizer = std::make_unique<Tokenizer>(options.tokenizer);
  const std::int64_t vocab_size = options.vocab_size == 0 && tokenizer ? tokenizer->vocab_size() : options.vocab_size;
  if (vocab_size <= 0 || vocab_size > kMaxVocab) {
    user_error("a token array needs its vocabulary size: give --vocab-size N (1 to ", kMaxVocab, ")");
  }
  if (tokenizer && tokenizer->vocab_size() > vocab_size) {
    user_error("the tokenizer '", options.tokenizer.string(), "' has ", tokenizer->vocab_size(),
               " pieces, more than --vocab-size ", vocab_size, "; give the tokenizer's size or another tokenizer");
  }
  check_special_id("--bos-id", options.bos_id, vocab_size);
  check_special_id("--eos-id", options.eos_id, vocab_size);
  const NpyTokens input(options.input);
  if (input.size() == 0) user_error("'", options.input.string(), "' holds no tokens; give an array that is not empty");

  DatasetWriter writer({.directory = options.output,
                        .vocab_size = vocab_size,
                        .bos_id = options.bos_id,
                        .eos_id = options.eos_id,
                        .tokenizer = tokenizer.get(),
                        .shard_tokens = options.shard_tokens,
                        .force = options.force});
  std::vector<std::int64_t> values(static_cast<std::size_t>(std::min(kTokenBlock, input.size())));
  std::vector<std::int32_t> ids;
  for (std::int64_t begin = 0; begin < input.size(); begin += kTokenBlock) {
    const std::int64_t count = std::min(kTokenBlock, input.size() - begin);
    input.read(begin, count, values.data());
    ids.clear();
    std::int64_t text_bytes = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t value = values[static_cast<std::size_t>(i)];
      if (value < 0 || value >= vocab_size) {
        user_error("'", options.input.string(), "': value ", begin + i, " is ", value, ", outside the vocabulary of ",
                   vocab_size, "; give the --vocab-size that the array was made with");
      }
      const auto id = static_cast<std::int32_t>(value);
      if (begin + i == 0 || (options.bos_id && id == *options.bos_id)) {
        writer.append(ids);
        ids.clear();
        writer.begin_document();
      }
      if (tokenizer && id < tokenizer->vocab_size())
        text_bytes += tokenizer->token_bytes()[static_cast<std::size_t>(id)];
      ids.push_back(id);
    }
    writer.append(ids);
    writer.add_text_bytes(text_bytes);
  }
  writer.add_source(options.input.string(), static_cast<std::int64_t>(fs::file_size(options.input)));
  writer.commit();
}

}  // namespace ttt
