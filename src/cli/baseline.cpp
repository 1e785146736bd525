// ttt baseline: unigram, bigram and trigram models of the training tokens, scored on the validation tokens.
#include <cmath>
#include <cstdio>
#include <iostream>

#include "base/json.h"
#include "base/timer.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "infer/ngram.h"

namespace ttt {
namespace {

constexpr int kMaxOrder = 3;
constexpr const char* kNames[kMaxOrder] = {"unigram", "bigram", "trigram"};

}  // namespace

ExitCode run_baseline(const std::vector<std::string>& args) {
  std::string train, valid;
  std::int64_t context = 0, max_samples = 0;
  bool json = false;
  CLI::App app(
      "Loss of token-level n-gram models (interpolated absolute discounting), counted on one data set and scored on "
      "the same targets "
      "of another that `ttt eval` scores: what a model has to beat.",
      "ttt baseline");
  app.add_option("--train", train, "the data set to count on")->required()->type_name("DIR");
  app.add_option("--valid", valid, "the data set to score")->required()->type_name("DIR");
  app.add_option("--context", context, "as of `ttt eval`: fixes which targets are scored; default: all")
      ->check(positive_number());
  app.add_option("--max-samples", max_samples, "as of `ttt eval`: only the first so many samples")
      ->check(positive_number());
  app.add_flag("--json", json, "print one JSON object");
  if (!parse_arguments(app, args)) return ExitCode::kOk;

  Timer timer;
  const NgramBaseline result = ngram_baseline(Dataset(train), Dataset(valid), kMaxOrder, context, max_samples);
  if (json) {
    Json object = {
        {"train", train}, {"valid", valid}, {"train_tokens", result.train_tokens}, {"tokens", result.tokens}};
    object["bytes"] = result.bytes > 0 ? Json(result.bytes) : Json();
    for (const NgramBaseline::Score& score : result.scores) {
      object[kNames[score.order - 1]] = {
          {"loss", score.loss},
          {"bits_per_byte", std::isnan(score.bits_per_byte) ? Json() : Json(score.bits_per_byte)},
          {"discount", score.discount}};
    }
    object["seconds"] = timer.seconds();
    std::cout << to_line(object);
    return ExitCode::kOk;
  }
  std::printf("%-8s  %14s  %13s\n", "model", "nats per token", "bits per byte");
  for (const NgramBaseline::Score& score : result.scores) {
    std::printf("%-8s  %14.4f", kNames[score.order - 1], score.loss);
    std::isnan(score.bits_per_byte) ? std::printf("  %13s\n", "-") : std::printf("  %13.4f\n", score.bits_per_byte);
  }
  std::printf("counted on %lld tokens, scored on %lld, in %.1f s\n", static_cast<long long>(result.train_tokens),
              static_cast<long long>(result.tokens), timer.seconds());
  return ExitCode::kOk;
}

}  // namespace ttt
