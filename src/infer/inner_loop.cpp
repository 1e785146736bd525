#include "infer/inner_loop.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "base/error.h"
#include "chart/chart.h"

namespace ttt {
namespace {

using Lists = std::vector<std::pair<const char*, std::vector<double> InnerLoopLayer::*>>;

const Lists& lists() {
  static const Lists all = {{"loss_w0", &InnerLoopLayer::loss_w0},
                            {"loss_before", &InnerLoopLayer::loss_before},
                            {"loss_after", &InnerLoopLayer::loss_after},
                            {"weight_change", &InnerLoopLayer::weight_change},
                            {"target_variance", &InnerLoopLayer::target_variance},
                            {"learning_rate", &InnerLoopLayer::learning_rate}};
  return all;
}

// sum += weight * values
void add(std::vector<double>& sum, const torch::Tensor& values, double weight) {
  const torch::Tensor own = values.to(torch::kCPU, torch::kDouble).contiguous();
  sum.resize(static_cast<std::size_t>(own.numel()));
  for (std::int64_t i = 0; i < own.numel(); ++i)
    sum[static_cast<std::size_t>(i)] += weight * own.const_data_ptr<double>()[i];
}

// sigma [B*H*T] -> the mean of each mini-batch's tokens.
torch::Tensor mean_rates(const torch::Tensor& sigma, std::int64_t context, std::int64_t mini_batch) {
  const torch::Tensor by_token = sigma.view({-1, context}).mean(0);
  std::vector<torch::Tensor> means;
  for (const torch::Tensor& part : by_token.split(mini_batch)) means.push_back(part.mean());
  return torch::stack(means);
}

}  // namespace

InnerLoopTable inner_loop_table(LanguageModel& model, const Dataset& data, const InnerLoopOptions& options,
                                const std::function<void(std::int64_t done, std::int64_t all)>& progress) {
  if (!model.config().mixer.contains(MixerKind::kTttLinear) && !model.config().mixer.contains(MixerKind::kTttMlp))
    user_error("the model has no TTT layer, whose inner loop --inner-loop shows: its mixer is ",
               to_string(model.config().mixer));
  std::int64_t windows = data.num_samples(options.context);
  if (windows == 0)
    user_error("the data set '", data.directory().string(), "' has no whole window of ", options.context,
               " tokens; give a shorter --context");
  if (options.max_windows > 0) windows = std::min(windows, options.max_windows);
  const torch::NoGradGuard no_grad;
  InnerLoopTable table{options.context, model.config().mini_batch_size, windows, {}};
  for (std::int64_t first = 0; first < windows; first += options.batch) {
    std::vector<std::int64_t> indices(static_cast<std::size_t>(std::min(options.batch, windows - first)));
    std::iota(indices.begin(), indices.end(), first);
    std::vector<InnerLoopStats> stats;
    ForwardContext context;
    context.stats = &stats;
    model.hidden(data.batch(indices, options.context).inputs_BT.to(options.device), context);
    TTT_CHECK(!stats.empty(), "a model with TTT layers that tell nothing");
    table.layers.resize(stats.size());
    const double weight = static_cast<double>(indices.size()) / static_cast<double>(windows);
    for (std::size_t i = 0; i < stats.size(); ++i) {
      InnerLoopLayer& layer = table.layers[i];
      layer.layer = stats[i].layer;
      add(layer.loss_w0, stats[i].loss_w0, weight);
      add(layer.loss_before, stats[i].loss_before, weight);
      add(layer.loss_after, stats[i].loss_after, weight);
      add(layer.weight_change, stats[i].weight_change, weight);
      add(layer.target_variance, stats[i].target_variance, weight);
      add(layer.learning_rate, mean_rates(stats[i].sigma, options.context, table.mini_batch), weight);
    }
    if (progress) progress(first + static_cast<std::int64_t>(indices.size()), windows);
  }
  return table;
}

Json to_json(const InnerLoopTable& table) {
  Json layers = Json::array();
  for (const InnerLoopLayer& layer : table.layers) {
    Json json = {{"layer", layer.layer}, {"from", Json::array()}, {"to", Json::array()}};
    for (std::size_t i = 0; i < layer.loss_w0.size(); ++i) {
      json["from"].push_back(table.first_token(static_cast<std::int64_t>(i)));
      json["to"].push_back(table.last_token(static_cast<std::int64_t>(i)));
    }
    for (const auto& [name, list] : lists()) json[name] = layer.*list;
    layers.push_back(json);
  }
  return {{"context", table.context}, {"mini_batch", table.mini_batch}, {"windows", table.windows}, {"layers", layers}};
}

std::string to_text(const InnerLoopTable& table) {
  std::string text = "layer  tokens                l(W0)     l(W_t-1)       l(W_t)   ||W_t - W0||     sigma\n";
  for (const InnerLoopLayer& layer : table.layers) {
    const std::size_t last = layer.loss_w0.size() - 1;
    std::vector<std::size_t> rows = {0, last / 2, last};
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    for (const std::size_t i : rows) {
      char line[160];
      const std::string tokens =
          cat(table.first_token(static_cast<std::int64_t>(i)), "..", table.last_token(static_cast<std::int64_t>(i)));
      std::snprintf(line, sizeof line, "%5lld  %-16s %10.6f   %10.6f   %10.6f     %10.6f  %8.2e\n",
                    static_cast<long long>(layer.layer), tokens.c_str(), layer.loss_w0[i], layer.loss_before[i],
                    layer.loss_after[i], layer.weight_change[i], layer.learning_rate[i]);
      text += line;
    }
  }
  return text;
}

std::string to_svg(const InnerLoopTable& table) {
  ChartGrid grid;
  grid.title = cat("The inner loss of each mini-batch's last token, ", table.windows,
                   table.windows == 1 ? " window" : " windows");
  grid.columns = table.layers.size() == 1 ? 1 : table.layers.size() <= 4 ? 2 : 3;
  std::vector<double> position;
  for (std::size_t i = 0; i < table.layers.front().loss_w0.size(); ++i)
    position.push_back(static_cast<double>(table.last_token(static_cast<std::int64_t>(i))));
  for (const InnerLoopLayer& layer : table.layers) {
    Chart chart;
    chart.title = cat("layer ", layer.layer);
    chart.x = {.label = "position", .unit = "tokens", .scale = AxisScale::kLog2};
    chart.y = {.label = "inner loss"};
    chart.width = 420, chart.height = 300;
    chart.series.push_back({.name = "at W0", .x = position, .y = layer.loss_w0});
    chart.series.push_back({.name = "before its step, at W t-1", .x = position, .y = layer.loss_before});
    chart.series.push_back({.name = "after it, at W t", .x = position, .y = layer.loss_after});
    grid.charts.push_back(std::move(chart));
  }
  return to_svg(grid);
}

}  // namespace ttt
