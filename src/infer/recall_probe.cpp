#include "infer/recall_probe.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/quantile.h"
#include "base/rng.h"
#include "data/task.h"

namespace ttt {
namespace {

constexpr int kRecallResamples = 1000;
constexpr double kRecallLevel = 0.95;

void check_recall(const Dataset& data, const RecallOptions& options, const std::vector<std::int64_t>& distances) {
  const std::int64_t context = options.context, passage = options.passage;
  if (passage < 2) user_error("a passage of ", passage, " token leaves nothing to recall; give at least 2");
  if (context < 2 * passage)
    user_error("a context of ", context, " tokens has no room for a passage of ", passage,
               " and its copy; give a longer --context or a shorter --recall-passage");
  for (const std::int64_t distance : distances) {
    if (distance < passage || distance > context - passage)
      user_error("a distance of ", distance, " is none for passages of ", passage, " tokens in a context of ", context,
                 "; give distances from ", passage, " to ", context - passage);
  }
  if (data.num_tokens() < context + 2 * passage)
    user_error("the data set '", data.directory().string(), "' has ", data.num_tokens(), " tokens, too few for ",
               context, " and passages from elsewhere; give a shorter --context, or more text");
}

// -log p [B] of the last `count` tokens of each sequence [B,L], the mean.
std::vector<double> last_losses(LanguageModel& model, const torch::Tensor& tokens_BL, std::int64_t count,
                                const RecallOptions& options) {
  const std::int64_t T = tokens_BL.size(1) - 1;
  const torch::Tensor inputs_BT = tokens_BL.narrow(1, 0, T).contiguous();
  const std::int64_t piece = options.piece > 0 && options.piece < T ? options.piece : T;
  std::optional<ModelState> state;
  if (piece < T) state = model.initial_state(inputs_BT.size(0));
  std::vector<torch::Tensor> hidden;  // of the last tokens
  for (std::int64_t begin = 0; begin < T; begin += piece) {
    const std::int64_t n = std::min(piece, T - begin),
                       kept = std::min(n, std::max<std::int64_t>(0, begin + n - (T - count)));
    const torch::Tensor hidden_BPD =
        model.hidden(inputs_BT.narrow(1, begin, n).contiguous(), ForwardContext{}, state ? &*state : nullptr);
    if (kept > 0) hidden.push_back(hidden_BPD.narrow(1, n - kept, kept));
  }
  const torch::Tensor loss_BC =
      model.hidden_loss(torch::cat(hidden, 1).contiguous(), tokens_BL.narrow(1, T + 1 - count, count).contiguous());
  const torch::Tensor mean_B = loss_BC.to(torch::kCPU, torch::kDouble).mean(1).contiguous();
  return {mean_B.const_data_ptr<double>(), mean_B.const_data_ptr<double>() + mean_B.numel()};
}

Interval bootstrap_gain(const std::vector<double>& gains, std::uint64_t seed) {
  std::vector<double> means;
  for (int r = 0; r < kRecallResamples; ++r) {
    CounterRng rng(stream_seed(seed, cat("recall bootstrap ", r)));
    double sum = 0;
    for (std::size_t i = 0; i < gains.size(); ++i) sum += gains[rng.next() % gains.size()];
    means.push_back(sum / static_cast<double>(gains.size()));
  }
  return percentile_interval(means, kRecallLevel);
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

RecallProbe make_recall_probe(const Dataset& data, const RecallOptions& options, std::int64_t index) {
  CounterRng rng(stream_seed(options.seed, cat("recall probe ", index)));
  const std::int64_t n = data.num_tokens(), length = options.context, passage = options.passage;
  const std::int64_t begin = draw_below(rng, n - length + 1);
  // From before the text or from behind it: of these places, one.
  const std::int64_t before = std::max<std::int64_t>(begin - passage + 1, 0);
  const std::int64_t behind = std::max<std::int64_t>(n - passage - (begin + length) + 1, 0);
  std::int64_t from = draw_below(rng, before + behind);
  if (from >= before) from += begin + length - before;
  const auto read = [&](std::int64_t first, std::int64_t count) {
    const std::vector<std::int32_t> tokens = data.tokens(first, count);
    return std::vector<std::int64_t>(tokens.begin(), tokens.end());
  };
  RecallProbe probe = {read(begin, length), read(from, passage)};
  std::copy(probe.passage.begin(), probe.passage.end(), probe.text.end() - passage);
  return probe;
}

std::vector<std::int64_t> planted_text(const RecallProbe& probe, std::int64_t distance) {
  std::vector<std::int64_t> text = probe.text;
  const auto passage = static_cast<std::int64_t>(probe.passage.size());
  std::copy(probe.passage.begin(), probe.passage.end(), text.end() - passage - distance);
  return text;
}

std::vector<std::int64_t> default_distances(std::int64_t context, std::int64_t passage) {
  std::vector<std::int64_t> distances;
  for (std::int64_t distance = passage; distance <= context - passage; distance *= 2) distances.push_back(distance);
  return distances;
}

RecallTable recall_table(LanguageModel& model, const Dataset& data, const RecallOptions& options,
                         const std::function<void(std::int64_t done, std::int64_t all)>& progress) {
  const std::int64_t L = options.context, passage = options.passage;
  const std::vector<std::int64_t> distances =
      options.distances.empty() ? default_distances(L, std::max<std::int64_t>(passage, 1)) : options.distances;
  check_recall(data, options, distances);
  const torch::NoGradGuard no_grad;
  // Of each probe the fresh text, then one planted text for each distance.
  const auto texts = static_cast<std::int64_t>(distances.size()) + 1;
  std::vector<std::vector<double>> losses(static_cast<std::size_t>(texts));
  std::vector<torch::Tensor> rows;
  std::int64_t done = 0;
  const auto flush = [&] {
    if (rows.empty()) return;
    for (const double loss : last_losses(model, torch::stack(rows).to(options.device), passage - 1, options))
      losses[static_cast<std::size_t>(done++ % texts)].push_back(loss);
    rows.clear();
    if (progress) progress(done, options.probes * texts);
  };
  for (std::int64_t i = 0; i < options.probes; ++i) {
    const RecallProbe probe = make_recall_probe(data, options, i);
    for (std::int64_t t = 0; t < texts; ++t) {
      rows.push_back(torch::tensor(
          t == 0 ? probe.text : planted_text(probe, distances[static_cast<std::size_t>(t - 1)]), torch::kLong));
      if (static_cast<std::int64_t>(rows.size()) == options.batch) flush();
    }
  }
  flush();

  RecallTable table{L, passage, options.probes, {}};
  for (std::size_t d = 0; d < distances.size(); ++d) {
    std::vector<double> gains;
    for (std::size_t i = 0; i < losses[0].size(); ++i) gains.push_back(losses[0][i] - losses[d + 1][i]);
    RecallPoint point = {distances[d], mean_of(losses[d + 1]), mean_of(losses[0]), mean_of(gains), 0, 0};
    const Interval interval = bootstrap_gain(gains, options.seed);
    point.low = std::min(point.gain, interval.low);
    point.high = std::max(point.gain, interval.high);
    table.points.push_back(point);
  }
  return table;
}

Json to_json(const RecallTable& table) {
  Json points = Json::array();
  for (const RecallPoint& point : table.points)
    points.push_back({{"distance", point.distance},
                      {"gain", point.gain},
                      {"low", point.low},
                      {"high", point.high},
                      {"planted", point.planted},
                      {"fresh", point.fresh}});
  return {{"context", table.context}, {"passage", table.passage}, {"probes", table.probes}, {"recall", points}};
}

std::string to_text(const RecallTable& table) {
  std::string text = "  distance        fresh      planted         gain    95 % interval\n";
  for (const RecallPoint& point : table.points) {
    char line[160];
    std::snprintf(line, sizeof line, "%10lld %12.6f %12.6f %12.6f  %8.4f %8.4f\n",
                  static_cast<long long>(point.distance), point.fresh, point.planted, point.gain, point.low,
                  point.high);
    text += line;
  }
  return text + cat("passages of ", table.passage, " tokens in a context of ", table.context, ", ", table.probes,
                    " probes; nats a token of the copy, its first left out\n");
}

}  // namespace ttt
