#include "optim/adamw.h"

#include <ATen/ATen.h>
#include <fnmatch.h>
#include <torch/csrc/autograd/grad_mode.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <numeric>
#include <utility>

#include "arch/model_parameters.h"
#include "base/error.h"

namespace ttt {

namespace {

// The kind of parameter: its name without the layer and without ".weight", "mixer.w1".
std::string kind_of(std::string name) {
  const std::string layers = "layers.", weight = ".weight";
  if (name.starts_with(layers)) name = name.substr(name.find('.', layers.size()) + 1);
  return name.ends_with(weight) ? name.substr(0, name.size() - weight.size()) : name;
}

}  // namespace

DecayOf decay_of(const ModelConfig& config) {
  std::map<std::string, Decay> declared;
  for (const Parameter& parameter : model_parameters(config)) declared.emplace(parameter.name, parameter.decay);
  return [declared](const std::string& name) {
    const auto found = declared.find(name);
    TTT_CHECK(found != declared.end(), "nobody declared the parameter '", name, "'");
    return found->second;
  };
}

AdamW::Group& AdamW::group_of(double lr_scale, double weight_decay) {
  for (Group& group : groups_) {
    if (group.lr_scale == lr_scale && group.weight_decay == weight_decay) return group;
  }
  Group& group = groups_.emplace_back();
  group.lr_scale = lr_scale;
  group.weight_decay = weight_decay;
  return group;
}

// Of a tensor like parameter i, what this optimizer owns: all of it, or a flat piece.
at::Tensor AdamW::Group::part(const at::Tensor& whole, std::size_t i) const {
  return ranges.empty() ? whole : whole.reshape({-1}).slice(0, ranges[i].first, ranges[i].last);
}

AdamW::AdamW(NamedParameters parameters, const OptimConfig& config, const DecayOf& decay_of,
             const std::vector<ElementRange>& own)
    : config_(config) {
  TTT_CHECK(own.empty() || own.size() == parameters.size(), own.size());
  std::vector<bool> used(config.groups.size(), false);
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    auto& [name, parameter] = parameters[p];
    double lr_scale = 1;
    const Decay decay = decay_of(name);
    const bool decayed = decay == Decay::kMatrix || (decay == Decay::kVector && config.decay_on == DecayOn::kAll);
    double weight_decay = decayed ? config.weight_decay : 0;
    for (std::size_t i = 0; i < config.groups.size(); ++i) {
      const ParameterGroup& rule = config.groups[i];
      if (fnmatch(rule.match.c_str(), name.c_str(), 0) != 0) continue;
      used[i] = true;
      if (rule.lr >= 0) lr_scale = rule.lr / config.lr;
      if (rule.weight_decay >= 0) weight_decay = rule.weight_decay;
      break;
    }
    Group& group = group_of(lr_scale, weight_decay);
    const std::size_t index = group.names.size();
    places_.push_back({static_cast<std::size_t>(&group - groups_.data()), index});
    group.names.push_back(name);
    if (!own.empty()) {
      TTT_CHECK(parameter.is_contiguous(), name);
      group.ranges.push_back(own[p]);
    }
    group.own.push_back(own.empty() ? parameter : group.part(parameter.detach(), index));
    group.exp_avg.push_back(at::zeros_like(group.own.back(), at::MemoryFormat::Contiguous).detach());
    group.exp_avg_sq.push_back(at::zeros_like(group.own.back(), at::MemoryFormat::Contiguous).detach());
    group.parameters.push_back(std::move(parameter));
  }
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    user_error("entry ", i + 1, " of optim.groups, match '", config.groups[i].match,
               "', is the first to match no parameter; names look like '", groups_.front().names.front(), "' and '",
               groups_.back().names.back(), "'");
  }
  at::ScalarType dtype = at::kFloat;
  for (const Group& group : groups_) {
    for (const at::Tensor& part : group.own)
      if (part.scalar_type() != at::kFloat) dtype = part.scalar_type();
  }
  step_ =
      make_adamw_step(groups_.front().parameters.front().device(), dtype, {config_.beta1, config_.beta2, config_.eps});
}

std::vector<std::string> AdamW::describe_groups() const {
  constexpr std::size_t kKindsNamed = 4;
  std::vector<std::string> lines = {"tensors      values        lr  weight decay  of"};
  for (const Group& group : groups_) {
    std::int64_t values = 0;
    for (const at::Tensor& parameter : group.parameters) values += parameter.numel();
    std::vector<std::string> kinds;
    for (const std::string& name : group.names) {
      const std::string kind = kind_of(name);
      if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) kinds.push_back(kind);
    }
    char numbers[96];
    std::snprintf(numbers, sizeof numbers, "%7zu  %10lld  %8.3g  %12.3g  ", group.names.size(),
                  static_cast<long long>(values), config_.lr * group.lr_scale, group.weight_decay);
    std::string line = numbers;
    for (std::size_t i = 0; i < std::min(kinds.size(), kKindsNamed); ++i) line += (i > 0 ? ", " : "") + kinds[i];
    if (kinds.size() > kKindsNamed) line += cat(" and ", kinds.size() - kKindsNamed, " more");
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<at::Tensor> AdamW::gradients() {
  std::vector<at::Tensor> all;
  for (Group& group : groups_) {
    for (at::Tensor& parameter : group.parameters) {
      if (!parameter.grad().defined()) parameter.mutable_grad() = at::zeros_like(parameter).detach();
      all.push_back(parameter.grad());
    }
  }
  return all;
}

at::Tensor AdamW::gradient_norm() {
  const torch::NoGradGuard no_grad;
  return step_->norm(gradients());
}

void AdamW::decide(const at::Tensor& loss_and_norm, const StepLimits& limits) {
  const torch::NoGradGuard no_grad;
  step_->decide(loss_and_norm, limits);
  decided_ = false;
}

void AdamW::clip_gradients(double max_norm) {
  const at::Tensor norm = gradient_norm();
  decide(at::stack({at::zeros_like(norm), norm}), {.max_norm = max_norm});
}

void AdamW::step(double lr) {
  std::vector<std::size_t> all(places_.size());
  std::iota(all.begin(), all.end(), 0);
  begin_step(lr);
  step_some(all);
}

void AdamW::begin_step(double lr) {
  gradients();  // makes the undefined ones zero
  ++updates_;
  decided_ = true;
  std::vector<AdamWRates> rates;
  for (const Group& group : groups_) rates.push_back({lr * group.lr_scale, group.weight_decay});
  step_->begin(rates, updates_);
}

void AdamW::step_some(const std::vector<std::size_t>& parameters) {
  const torch::NoGradGuard no_grad;
  std::vector<AdamWItem> items;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    for (const std::size_t parameter : parameters) {
      const auto [of, i] = places_[parameter];
      if (of != g) continue;
      items.push_back({group.own[i], group.part(group.parameters[i].grad().contiguous(), i), group.exp_avg[i],
                       group.exp_avg_sq[i], static_cast<int>(g)});
    }
  }
  step_->step(items);
}

StepOutcome AdamW::outcome() {
  const StepOutcome outcome = step_->outcome();
  if (!outcome.taken && std::exchange(decided_, false)) --updates_;
  return outcome;
}

void AdamW::zero_gradients(bool in_place) {
  const at::NoGradGuard no_grad;
  step_->forget_decision();
  std::vector<at::Tensor> kept;
  for (Group& group : groups_) {
    for (at::Tensor& parameter : group.parameters) {
      at::Tensor& gradient = parameter.mutable_grad();
      if (!in_place) gradient.reset();
      if (gradient.defined()) kept.push_back(gradient);
    }
  }
  if (!kept.empty()) at::_foreach_zero_(kept);
}

NamedParameters AdamW::state() const {
  NamedParameters state;
  for (const Group& group : groups_) {
    for (std::size_t i = 0; i < group.names.size(); ++i) {
      state.emplace_back("exp_avg/" + group.names[i], group.exp_avg[i]);
      state.emplace_back("exp_avg_sq/" + group.names[i], group.exp_avg_sq[i]);
    }
  }
  // By name: the order does not depend on which parameters are decayed.
  std::sort(state.begin(), state.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return state;
}

void AdamW::load_state(const StoredMoments& stored, std::int64_t updates, const std::string& source) {
  const torch::NoGradGuard no_grad;
  const auto check = [&](const std::string& name, const at::Tensor& parameter) {
    const std::vector<std::int64_t>* shape = stored.shape(name);
    if (shape == nullptr) user_error("'", source, "' has no optimizer moment '", name, "'; is it of another model?");
    if (parameter.sizes() != *shape) {
      user_error("the optimizer moment '", name, "' in '", source, "' has the shape ", at::IntArrayRef(*shape),
                 " instead of ", parameter.sizes(), "; is it of another model?");
    }
  };
  for (const bool check_alone : {true, false}) {  // nothing is changed unless all of it fits
    for (Group& group : groups_) {
      for (std::size_t i = 0; i < group.names.size(); ++i) {
        const std::string m = "exp_avg/" + group.names[i], v = "exp_avg_sq/" + group.names[i];
        if (check_alone) {
          check(m, group.parameters[i]);
          check(v, group.parameters[i]);
          continue;
        }
        const ElementRange own = group.ranges.empty() ? ElementRange{0, group.parameters[i].numel()} : group.ranges[i];
        stored.read(m, own, group.exp_avg[i]);
        stored.read(v, own, group.exp_avg_sq[i]);
      }
    }
  }
  updates_ = updates;
}

}  // namespace ttt
