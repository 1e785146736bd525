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
    result.overall.has_answers = result.overall.has_answers || own.has_answers;
    result.overall.totals += own.totals;
    result.domains.emplace_back(set.name, own);
  }
  result.overall.loss = nats / tokens;
  result.overall.bits_per_byte = nats / std::log(2.0) / bytes;
  return result;
}

namespace {

void add_accuracy(const EvalResult& result, Json& line) {
  if (!result.has_answers) return;
  const EvalSums& totals = result.totals;
  line["accuracy"] = static_cast<double>(totals.correct) / static_cast<double>(totals.tokens);
  if (totals.answers > 0)
    line["answer_accuracy"] = static_cast<double>(totals.correct_answers) / static_cast<double>(totals.answers);
}

}  // namespace

Json to_json(const ValidationResult& result, const std::vector<ScaledLoss>& scaled, std::int64_t step, double seconds) {
  const EvalResult& overall = result.overall;
  Json line = {{"kind", "valid"}, {"step", step}, {"loss", overall.loss}, {"perplexity", std::exp(overall.loss)}};
  if (std::isfinite(overall.bits_per_byte)) line["bits_per_byte"] = overall.bits_per_byte;
  if (result.domains.empty()) add_accuracy(overall, line);
  line["tokens"] = overall.tokens;
  line["seconds"] = seconds;
  for (const auto& [name, domain] : result.domains) {
    Json& own = line["domains"][name] = {{"loss", domain.loss}};
    if (std::isfinite(domain.bits_per_byte)) own["bits_per_byte"] = domain.bits_per_byte;
    add_accuracy(domain, own);
    own["tokens"] = domain.tokens;
  }
  for (const auto& [scale, at] : scaled) {
    Json& own = line["inner_lr_scales"][cat(scale)] = {{"loss", at.loss}};
    if (std::isfinite(at.bits_per_byte)) own["bits_per_byte"] = at.bits_per_byte;
    if (result.domains.empty()) add_accuracy(at, own);
  }
  return line;
}

Json position_line(const ValidationResult& result, std::int64_t step) {
  Json line = {{"kind", "position_loss"}, {"step", step}};
  const auto add = [](Json& object, const PositionLosses& losses) {
    object["positions"] = to_json(losses.positions);
    object["intervals"] = to_json(losses.intervals);
  };
  if (result.domains.empty()) add(line, *result.overall.positions);
  for (const auto& [name, domain] : result.domains) add(line["domains"][name], *domain.positions);
  return line;
}

std::string to_text(const ValidationResult& result, const std::vector<ScaledLoss>& scaled, std::int64_t step) {
  const EvalResult& overall = result.overall;
  std::string text = cat("step ", step, ": validation loss ", overall.loss, ", perplexity ", std::exp(overall.loss));
  if (std::isfinite(overall.bits_per_byte)) text += cat(", ", overall.bits_per_byte, " bits per byte");
  if (result.domains.empty() && overall.has_answers)
    text += cat(", accuracy ", static_cast<double>(overall.totals.correct) / static_cast<double>(overall.tokens));
  for (std::size_t i = 0; i < result.domains.size(); ++i) {
    text += cat(i == 0 ? " (" : ", ", result.domains[i].first, " ", result.domains[i].second.loss);
  }
  if (!result.domains.empty()) text += ")";
  for (const auto& [scale, at] : scaled) text += cat("; ", at.loss, " with inner learning rates x ", scale);
  return text;
}

}  // namespace ttt
