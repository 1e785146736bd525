// What the model writes so far: a short text for the one who watches a run.
#pragma once

#include <cstdint>
#include <string>

#include "data/dataset.h"
#include "model/language_model.h"

namespace ttt {

struct TextSample {
  std::string prompt, text;  // the first tokens of the data, and how the model goes on
};

// At most `tokens` new ones after the first 32 tokens of `data`. The same model, data and seed give the same text; the
// model is left as it was. Throws UserError when `tokenizer` (bytes of a tokenizer.model) is none.
TextSample sample_text(LanguageModel& model, const Dataset& data, const std::string& tokenizer, std::int64_t tokens,
                       std::uint64_t seed, torch::Device device);

}  // namespace ttt
