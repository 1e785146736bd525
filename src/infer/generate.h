// Text from a model: feed the prompt, then one token after the other. TTT layers keep a state of constant size.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "infer/sampler.h"
#include "model/language_model.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

struct GenerateOptions {
  std::int64_t max_tokens = 200;
  SamplingOptions sampling = {};
  std::uint64_t seed = 0;
  std::optional<std::int32_t> eos_id = {};       // generation ends before it
  std::int64_t vocab_size = 0;                   // of the tokenizer: ids from here on are padding; 0: the model's
  std::optional<std::int64_t> max_context = {};  // full attention only: prompt and new tokens must fit
  torch::Device device = torch::kCPU;            // where the model is
};

struct GenerateResult {
  std::vector<std::int32_t> tokens;  // the new ones, without EOS
  bool ended_by_eos = false;
  double prompt_seconds = 0;  // feeding the prompt
  double decode_seconds = 0;  // everything after
  std::int64_t state_bytes = 0;
};

// `on_token` gets each new token as soon as it is chosen. Throws UserError for an empty prompt and, with full
// attention, for a prompt that does not fit into max_context together with max_tokens.
GenerateResult generate(LanguageModel& model, const std::vector<std::int32_t>& prompt, const GenerateOptions& options,
                        const std::function<void(std::int32_t token)>& on_token = {});

// Tokens to text in pieces that are whole UTF-8 characters: a character that several byte pieces make up is held back
// until it is complete (at most four tokens; then it is given out as decoded, with U+FFFD for what is no character).
class TextStream {
 public:
  // `prompt`: the tokens before, which decide whether the first piece starts with a space.
  TextStream(const Tokenizer& tokenizer, const std::vector<std::int32_t>& prompt);
  std::string push(std::int32_t token);  // the text that is ready, maybe none
  std::string finish();                  // what is held back

 private:
  std::string release(std::size_t count);  // the first so many pending tokens

  const Tokenizer& tokenizer_;
  std::vector<std::int32_t> before_;  // the tokens given out last, context for decoding
  std::vector<std::int32_t> pending_;
};

}  // namespace ttt
