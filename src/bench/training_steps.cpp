#include "bench/training_steps.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <torch/utils.h>

#include <utility>

#include "bench/device_memory.h"

namespace ttt {
namespace {

constexpr std::uint64_t kTokenSeed = 1;

}  // namespace

TrainingSteps::TrainingSteps(const RunConfig& config, bool bf16, at::Device device)
    : config_(config),
      schedule_(schedule_of(config)),
      model_(std::make_shared<LanguageModel>(config.model, static_cast<std::uint64_t>(config.train.seed))) {
  model_->to(device);
  model_->set_bf16(bf16);
  NamedParameters parameters;
  for (const auto& item : model_->named_parameters()) parameters.emplace_back(item.key(), item.value());
  optimizer_ = std::make_unique<AdamW>(std::move(parameters), config.optim, decay_of(config.model));
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(kTokenSeed);
  tokens_BT_ = at::randint(0, config.model.vocab_size, {config.sequences_per_step(), config.train.context + 1},
                           generator, at::TensorOptions(at::kLong))
                   .to(device);
}

StepTimes TrainingSteps::step() {
  StepTimes times;
  const DeviceTimer whole(tokens_BT_.device());
  DeviceTimer phase(tokens_BT_.device());
  optimizer_->zero_gradients();
  times.optimizer = phase.seconds();
  const std::int64_t T = config_.train.context, sequences = config_.sequences_per_step(), b = config_.micro_batch();
  for (std::int64_t first = 0; first < sequences; first += b) {
    phase.restart();
    const torch::Tensor part_bT = tokens_BT_.narrow(0, first, b);
    ForwardContext context;
    context.ttt_lr_mult = ttt_lr_multiplier(config_, updates_ + 1);
    context.recompute = config_.train.recompute;
    const torch::Tensor token_loss_bT = model_->token_loss(part_bT.narrow(1, 0, T), part_bT.narrow(1, 1, T), context);
    const torch::Tensor loss = token_loss_bT.sum() / static_cast<double>(sequences * T);
    times.forward += phase.seconds();
    phase.restart();
    loss.backward();
    times.backward += phase.seconds();
    times.loss += loss.item<double>();
  }
  phase.restart();
  optimizer_->clip_gradients(config_.optim.clip_grad_norm);
  optimizer_->step(schedule_.rate(updates_++));
  times.optimizer += phase.seconds();
  times.whole = whole.seconds();
  return times;
}

std::int64_t TrainingSteps::parameters() const {
  std::int64_t count = 0;
  for (const torch::Tensor& parameter : model_->parameters()) count += parameter.numel();
  return count;
}

}  // namespace ttt
