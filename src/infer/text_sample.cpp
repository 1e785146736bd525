#include "infer/text_sample.h"

#include <algorithm>
#include <vector>

#include "infer/generate.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

constexpr std::int64_t kPromptTokens = 32;

}  // namespace

TextSample sample_text(LanguageModel& model, const Dataset& data, const std::string& tokenizer_bytes,
                       std::int64_t tokens, std::uint64_t seed, torch::Device device) {
  const Tokenizer tokenizer = Tokenizer::from_bytes(tokenizer_bytes, "tokenizer.model");
  const std::vector<std::int32_t> prompt = data.tokens(0, std::min(kPromptTokens, data.num_tokens()));
  GenerateOptions options;
  options.max_tokens = tokens;
  options.seed = seed;
  options.device = device;
  options.vocab_size = tokenizer.vocab_size();
  if (tokenizer.eos_id() >= 0) options.eos_id = tokenizer.eos_id();
  TextSample sample;
  TextStream shown(tokenizer, {}), text(tokenizer, prompt);
  for (const std::int32_t token : prompt) sample.prompt += shown.push(token);
  sample.prompt += shown.finish();
  generate(model, prompt, options, [&](std::int32_t token) { sample.text += text.push(token); });
  sample.text += text.finish();
  return sample;
}

}  // namespace ttt
