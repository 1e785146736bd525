#include "train/validation.h"

#include <cmath>

#include "base/error.h"

namespace ttt {

ValidationResult validate(LanguageModel& model, const std::vector<MixtureSource>& sets, const EvalOptions& options) {
  ValidationResult result;
  if (sets.size() == 1) {
    result.overall = evaluate(model, sets.front().data, options);
    return result;
  }
  double tokens = 0, nats = 0, bytes = 0;
  for (const MixtureSource& set : sets) {
    const EvalResult own = evaluate(model, set.data, options);
    const auto weight = static_cast<double>(set.data.num_tokens());
    tokens += weight;
    nats += weight * own.loss;
    bytes += weight * own.loss / std::log(2.0) / own.bits_per_byte;  // NaN without a tokenizer
    result.overall.tokens += own.tokens;
    result.overall.samples += own.samples;
    result.domains.emplace_back(set.name, own);
  }
  result.overall.loss = nats / tokens;
  result.overall.bits_per_byte = nats / std::log(2.0) / bytes;
  return result;
}

Json to_json(const ValidationResult& result, std::int64_t step, double seconds) {
  const EvalResult& overall = result.overall;
  Json line = {{"kind", "valid"}, {"step", step}, {"loss", overall.loss}, {"perplexity", std::exp(overall.loss)}};
  if (std::isfinite(overall.bits_per_byte)) line["bits_per_byte"] = overall.bits_per_byte;
  line["tokens"] = overall.tokens;
  line["seconds"] = seconds;
  for (const auto& [name, domain] : result.domains) {
    Json& own = line["domains"][name] = {{"loss", domain.loss}};
    if (std::isfinite(domain.bits_per_byte)) own["bits_per_byte"] = domain.bits_per_byte;
    own["tokens"] = domain.tokens;
  }
  return line;
}

std::string to_text(const ValidationResult& result, std::int64_t step) {
  const EvalResult& overall = result.overall;
  std::string text = cat("step ", step, ": validation loss ", overall.loss, ", perplexity ", std::exp(overall.loss));
  if (std::isfinite(overall.bits_per_byte)) text += cat(", ", overall.bits_per_byte, " bits per byte");
  for (std::size_t i = 0; i < result.domains.size(); ++i) {
    text += cat(i == 0 ? " (" : ", ", result.domains[i].first, " ", result.domains[i].second.loss);
  }
  return result.domains.empty() ? text : text + ")";
}

}  // namespace ttt
