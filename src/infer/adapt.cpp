#include "infer/adapt.h"

#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>
#include <torch/utils.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace ttt {
namespace {

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const std::vector<torch::Tensor>& parameters,
                                                        const AdaptOptions& options) {
  if (options.method == AdaptMethod::kSgd)
    return std::make_unique<torch::optim::SGD>(parameters, torch::optim::SGDOptions(options.lr));
  return std::make_unique<torch::optim::AdamW>(parameters, torch::optim::AdamWOptions(options.lr).weight_decay(0));
}

// The number of the block that a parameter belongs to, "layers.N.", or -1.
std::int64_t block_of(const std::string& name) {
  const std::string prefix = "layers.";
  std::int64_t number = -1;
  if (name.starts_with(prefix)) std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number);
  return number;
}

bool read_number(std::string_view text, std::int64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number >= 0;
}

}  // namespace

std::set<std::int64_t> parse_layers(const std::string& text, std::int64_t num_layers) {
  std::set<std::int64_t> layers;
  if (text == "all") return layers;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = std::string_view(text).substr(begin, end - begin);
    const std::size_t dash = part.find('-');
    std::int64_t first = 0, last = 0;
    const bool read =
        read_number(part.substr(0, dash), first) &&
        (dash == std::string_view::npos ? (last = first, true) : read_number(part.substr(dash + 1), last));
    if (!read || first > last)
      user_error("'", text, "' names no layers; give 'all', or numbers and ranges from 0 on such as '0,4-5'");
    if (last >= num_layers)
      user_error("'", text, "' names layer ", last, ", and the model has layers 0 to ", num_layers - 1);
    for (std::int64_t layer = first; layer <= last; ++layer) layers.insert(layer);
    begin = end + 1;
  }
  return layers;
}

Adapter::Adapter(LanguageModel& model, const AdaptOptions& options) : model_(model), options_(options) {
  TTT_CHECK(!model.bf16(), "steps on weights in bf16 are lost to rounding");
  for (const auto& named : model.named_parameters()) {
    torch::Tensor parameter = named.value();
    const bool learns = options.layers.empty() || options.layers.contains(block_of(named.key()));
    parameter.set_requires_grad(learns);
    if (!learns) continue;
    parameters_.push_back(parameter);
    if (options.reset_at_documents) initial_.push_back(parameter.detach().clone());
  }
  TTT_CHECK(!parameters_.empty(), "no parameter learns");
  optimizer_ = make_optimizer(parameters_, options_);
}

void Adapter::learn(const torch::Tensor& tokens_BT, const torch::Tensor& targets_BT, const torch::Tensor& scored_BC) {
  const std::int64_t T = tokens_BT.size(1), count = scored_BC.size(1);
  TTT_CHECK(count <= T, count, " targets of ", T);
  const auto scored = scored_BC.sum().item<std::int64_t>();
  if (scored == 0) return;
  const torch::AutoGradMode with_gradients(true);
  const torch::Tensor hidden_BCD = model_.hidden(tokens_BT, ForwardContext{}).narrow(1, T - count, count).contiguous();
  const torch::Tensor loss_BC = model_.hidden_loss(hidden_BCD, targets_BT.narrow(1, T - count, count).contiguous());
  const torch::Tensor weights_BC = scored_BC.to(loss_BC.device(), loss_BC.scalar_type()) / static_cast<double>(scored);
  const torch::Tensor loss = (loss_BC * weights_BC).sum();
  if (!std::isfinite(loss.item<double>()))
    user_error("the adapted model's loss is not finite any more; give a lower --adapt-lr than ", options_.lr);
  optimizer_->zero_grad();
  loss.backward();
  optimizer_->step();
}

void Adapter::reset() {
  const torch::NoGradGuard no_grad;
  for (std::size_t i = 0; i < parameters_.size(); ++i) parameters_[i].copy_(initial_[i]);
  optimizer_ = make_optimizer(parameters_, options_);
}

}  // namespace ttt
