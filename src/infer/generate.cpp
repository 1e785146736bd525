// Text from a model.
#include "infer/generate.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "arch/mixer.h"
#include "base/error.h"
#include "base/timer.h"
#include "base/utf8.h"

namespace ttt {
namespace {

constexpr std::int64_t kPromptChunk = 2048;  // tokens of the prompt taken at once; bounds the memory of a long one
constexpr std::size_t kMaxHeldBack = 4;      // bytes of the longest UTF-8 character

void check_fits(const LanguageModel& model, std::int64_t prompt, const GenerateOptions& options) {
  const ModelConfig& config = model.config();
  const auto& kinds = config.mixer.kinds();
  const bool is_bound = std::any_of(kinds.begin(), kinds.end(),
                                    [&](MixerKind kind) { return declaration_of(kind).is_bound_by_context(config); });
  if (!is_bound || !options.max_context) return;
  const std::int64_t context = *options.max_context;
  if (prompt >= context) {
    user_error("the prompt has ", prompt, " tokens, but this attention model was trained with a context of ", context,
               "; shorten the prompt to at most ", context - 1);
  }
  if (prompt + options.max_tokens > context) {
    user_error("the prompt's ", prompt, " tokens and ", options.max_tokens, " new ones are more than the context of ",
               context, " that this attention model was trained with; ask for at most ", context - prompt,
               " tokens or shorten the prompt");
  }
}

// The first `count` of logits [1,V] on any device -> fp32 on the CPU [count]; 0: all.
std::vector<float> to_host(const torch::Tensor& logits_BV, std::int64_t count) {
  const torch::Tensor logits = logits_BV.to(torch::kCPU, torch::kFloat32).contiguous();
  const float* data = logits.const_data_ptr<float>();
  return {data, data + (count > 0 ? std::min(count, logits.numel()) : logits.numel())};
}

const std::string kReplacement = "\xEF\xBF\xBD";  // U+FFFD

std::string replace_invalid_utf8(std::string_view text) {
  std::string valid;
  while (const auto bad = find_invalid_utf8(text)) {
    valid += cat(text.substr(0, *bad), kReplacement);
    text.remove_prefix(*bad + 1);
  }
  return valid += text;
}

// Further bytes may complete the last character: the tokenizer's decoding ends in raw bytes, or in U+FFFD where it
// shows them so.
bool ends_inside_character(const std::string& text) {
  if (text.ends_with(kReplacement)) return true;
  return !text.empty() && static_cast<unsigned char>(text.back()) >= 0x80 && find_invalid_utf8(text).has_value();
}

}  // namespace

GenerateResult generate(LanguageModel& model, const std::vector<std::int32_t>& prompt, const GenerateOptions& options,
                        const std::function<void(std::int32_t token)>& on_token) {
  if (prompt.empty()) user_error("the prompt is empty and the tokenizer has no BOS to start from; give some text");
  check_fits(model, static_cast<std::int64_t>(prompt.size()), options);
  Sampler sampler(options.sampling, options.seed);

  const at::NoGradGuard no_grad;
  ModelState state = model.initial_state(1);
  Timer timer;
  const torch::Tensor prompt_BT = torch::tensor(std::vector<std::int64_t>(prompt.begin(), prompt.end()), torch::kInt64)
                                      .unsqueeze(0)
                                      .to(options.device);
  torch::Tensor logits_BV;
  for (const torch::Tensor& chunk_BT : prompt_BT.split(kPromptChunk, 1)) logits_BV = model.advance(chunk_BT, state);

  GenerateResult result;
  std::vector<float> logits_V = to_host(logits_BV, options.vocab_size);
  result.prompt_seconds = timer.seconds();
  timer.restart();
  for (std::int64_t n = 0; n < options.max_tokens; ++n) {
    const std::int32_t token = sampler(logits_V);
    if (options.eos_id && token == *options.eos_id) {
      result.ended_by_eos = true;
      break;
    }
    result.tokens.push_back(token);
    if (on_token) on_token(token);
    if (n + 1 == options.max_tokens) break;
    logits_V =
        to_host(model.advance(torch::full({1, 1}, token, torch::kInt64).to(options.device), state), options.vocab_size);
  }
  result.decode_seconds = timer.seconds();
  result.state_bytes = state.bytes();
  return result;
}

TextStream::TextStream(const Tokenizer& tokenizer, const std::vector<std::int32_t>& prompt)
    : tokenizer_(tokenizer),
      before_(prompt.end() - static_cast<std::ptrdiff_t>(std::min(prompt.size(), kMaxHeldBack)), prompt.end()) {}

std::string TextStream::push(std::int32_t token) {
  pending_.push_back(token);
  if (!ends_inside_character(tokenizer_.decode(pending_))) return release(pending_.size());
  // No character starts at the first of four byte pieces that are still open; one may start at the second.
  return pending_.size() < kMaxHeldBack ? "" : release(1);
}

std::string TextStream::finish() {
  return pending_.empty() ? "" : release(pending_.size());
}

std::string TextStream::release(std::size_t count) {
  const auto end = pending_.begin() + static_cast<std::ptrdiff_t>(count);
  const std::vector<std::int32_t> ready(pending_.begin(), end);
  pending_.erase(pending_.begin(), end);
  std::vector<std::int32_t> both = before_;
  both.insert(both.end(), ready.begin(), ready.end());
  const std::string prefix = tokenizer_.decode(before_), text = tokenizer_.decode(both);
  before_ = ready;
  return replace_invalid_utf8(text.substr(std::min(prefix.size(), text.size())));
}

}  // namespace ttt
